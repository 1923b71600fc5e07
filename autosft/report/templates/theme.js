// The theme before anything is drawn: what was chosen here last, else what the system says.
(function () {
  var chosen = null;
  try { chosen = localStorage.getItem("autosft-theme"); } catch (error) { /* A page from a file may have no storage. */ }
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var root = document.documentElement;
  root.dataset.theme = chosen || (dark.matches ? "dark" : "light");
  dark.addEventListener("change", function () {
    if (chosen === null) window.dispatchEvent(new CustomEvent("autosft:theme", { detail: dark.matches ? "dark" : "light" }));
  });
  window.addEventListener("autosft:chosen", function (event) { chosen = event.detail; });
})();
