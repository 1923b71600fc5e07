// Tables that sort and filter, figures that follow the theme, and a page that prints whole. No library but plotly.
(function () {
  "use strict";
  var root = document.documentElement;

  // ---- Theme -------------------------------------------------------------------------------------------------------
  var toggle = document.querySelector(".theme");
  var printing = false;
  var beforePrint = null;

  function setTheme(name) {
    root.dataset.theme = name;
    if (toggle) toggle.textContent = name === "dark" ? "Light theme" : "Dark theme";
    drawAll();
  }
  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", function () {
      var name = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("autosft-theme", name); } catch (error) { /* Then it holds for this page alone. */ }
      window.dispatchEvent(new CustomEvent("autosft:chosen", { detail: name }));
      setTheme(name);
    });
  }
  window.addEventListener("autosft:theme", function (event) { if (!printing) setTheme(event.detail); });

  // ---- Figures -----------------------------------------------------------------------------------------------------
  function colour(name) { return getComputedStyle(root).getPropertyValue("--" + name).trim(); }

  // Puts the theme's colours in the place of their names, in a copy.
  function coloured(value) {
    if (typeof value === "string") return (/^\$[a-z]+(-\d)?$/.test(value) && colour(value.slice(1))) || value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (key) { copy[key] = coloured(value[key]); });
      return copy;
    }
    return value;
  }

  function draw(plot) {
    var spec = JSON.parse(plot.parentNode.querySelector("script[type='application/json']").textContent);
    var axis = { gridcolor: "$grid", linecolor: "$line", zerolinecolor: "$line", tickcolor: "$line", automargin: true };
    var layout = Object.assign({ margin: { l: 56, r: 16, t: 12, b: 44 }, hovermode: "closest", dragmode: false }, spec.layout);
    Object.keys(layout).filter(function (key) { return /^[xy]axis\d*$/.test(key); }).forEach(function (key) {
      layout[key] = Object.assign({}, axis, layout[key]);
    });
    layout.xaxis = layout.xaxis || axis;
    layout.yaxis = layout.yaxis || axis;
    Object.assign(layout, {
      paper_bgcolor: "$card", plot_bgcolor: "$card", height: +plot.dataset.height, autosize: true,
      font: { color: "$ink", size: 13, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: "$soft", bordercolor: "$line", font: { color: "$ink" }, align: "left" }
    });
    layout.width = Math.max(+plot.dataset.minWidth, printing ? 670 : plot.parentNode.clientWidth);
    if (printing) layout.width = 670;
    return Plotly.react(plot, coloured(spec.data), coloured(layout), { displayModeBar: false, scrollZoom: false, responsive: false });
  }
  function drawAll() {
    if (window.Plotly) Array.prototype.forEach.call(document.querySelectorAll(".plot"), draw);
  }
  var waiting = 0;
  window.addEventListener("resize", function () {
    clearTimeout(waiting);
    waiting = setTimeout(function () { if (!printing) drawAll(); }, 120);
  });

  // ---- Tables ------------------------------------------------------------------------------------------------------
  var words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

  function key(row, at) {
    var cell = row.cells[at];
    return cell.dataset.v ? +cell.dataset.v : cell.dataset.v === "" ? null : cell.textContent.trim();
  }
  // What there is nothing of stands last whichever way it is sorted.
  function compare(left, right, sign) {
    if (left === null || right === null) return (left === null) - (right === null);
    return sign * (typeof left === "number" && typeof right === "number" ? left - right : words.compare(left, right));
  }
  function sort(header) {
    var sign = header.getAttribute("aria-sort") === "ascending" ? -1 : header.getAttribute("aria-sort") ? 1 : +header.dataset.first;
    var table = header.closest("table"), body = table.tBodies[0], at = header.cellIndex;
    table.querySelectorAll("th").forEach(function (other) { other.removeAttribute("aria-sort"); });
    header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    Array.prototype.slice.call(body.rows)
      .map(function (row) { return [key(row, at), row]; })
      .sort(function (left, right) { return compare(left[0], right[0], sign); })
      .forEach(function (pair) { body.appendChild(pair[1]); });
  }
  document.querySelectorAll("th button").forEach(function (button) {
    button.addEventListener("click", function () { sort(button.parentNode); });
  });

  document.querySelectorAll(".filters").forEach(function (form) {
    form.hidden = false;
    var rows = Array.prototype.slice.call(document.getElementById(form.dataset.table).tBodies[0].rows);
    var output = form.querySelector("output");
    function apply() {
      var wanted = form.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean), shown = 0;
      rows.forEach(function (row) {
        var text = row.textContent.toLowerCase();
        var fits = wanted.every(function (word) { return text.indexOf(word) >= 0; });
        form.querySelectorAll("select").forEach(function (select) {
          if (select.value && row.cells[+select.dataset.column].textContent.trim() !== select.value) fits = false;
        });
        row.hidden = !fits;
        shown += fits;
      });
      output.textContent = shown === rows.length ? "all " + rows.length + " shown" : shown + " of " + rows.length + " shown";
    }
    form.addEventListener("input", apply);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    apply();
  });

  // ---- Where one is ------------------------------------------------------------------------------------------------
  var links = {};
  document.querySelectorAll(".contents a").forEach(function (link) { links[link.hash.slice(1)] = link; });
  if (window.IntersectionObserver) {
    var seen = {};
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) { seen[entry.target.id] = entry.isIntersecting; });
      var first = Object.keys(links).filter(function (id) { return seen[id]; })[0];
      Object.keys(links).forEach(function (id) {
        if (id === first) links[id].setAttribute("aria-current", "true"); else links[id].removeAttribute("aria-current");
      });
    }, { rootMargin: "0px 0px -60% 0px" });
    document.querySelectorAll("section[id]").forEach(function (section) { observer.observe(section); });
  }

  // ---- Print: light, everything open -------------------------------------------------------------------------------
  function startPrint() {
    if (printing) return;
    printing = true;
    beforePrint = { theme: root.dataset.theme, closed: document.querySelectorAll("details:not([open])") };
    beforePrint.closed.forEach(function (details) { details.open = true; });
    setTheme("light");
  }
  function endPrint() {
    if (!printing) return;
    printing = false;
    beforePrint.closed.forEach(function (details) { details.open = false; });
    setTheme(beforePrint.theme);
  }
  window.addEventListener("beforeprint", startPrint);
  window.addEventListener("afterprint", endPrint);
  window.matchMedia("print").addEventListener("change", function (event) { event.matches ? startPrint() : endPrint(); });

  setTheme(root.dataset.theme);
  root.dataset.ready = "yes";
})();
