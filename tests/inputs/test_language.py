from __future__ import annotations

import pytest

from autosft.inputs.language import language_of


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["Where is my card?", "I have not received it, can you help with this?"], "en"),
        (["Wo ist meine Karte?", "Ich habe sie noch nicht bekommen."], "und"),
        (["¿Dónde está mi tarjeta?", "Todavía no la he recibido."], "und"),
        (["カードはどこですか", "まだ届いていません"], "ja"),
        (["我的卡在哪里", "我还没有收到"], "zh"),
        (["Где моя карта?", "Я её ещё не получил"], "ru"),
        (["أين بطاقتي", "لم أستلمها بعد"], "ar"),
        (["अब कहाँ है मेरा कार्ड"], "hi"),
        (["My order 我的 is late and I want to know what is the status of it"], "en"),
        (["123", "4 5"], None),
        ([], None),
    ],
)
def test_the_language_that_decides_which_base_models_are_tried(texts: list[str], code: str | None) -> None:
    assert language_of(texts) == code
