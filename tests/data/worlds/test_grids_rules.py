"""Every rule of the grids world against outputs written by hand."""

import numpy as np
import pytest

from seal_jax.data.worlds.grids_rules import RULES, rule

# What becomes of 123/456/789, and of 0 where the rule reads empty cells.
MOVED = {
    "flip_rows": "789/456/123",
    "flip_columns": "321/654/987",
    "rotate_90": "369/258/147",
    "rotate_180": "987/654/321",
    "rotate_270": "741/852/963",
    "transpose": "147/258/369",
    "antitranspose": "963/852/741",
    "shift_down": "789/123/456",
    "shift_up": "456/789/123",
    "shift_right": "312/645/978",
    "shift_left": "231/564/897",
    "shift_diagonal": "978/312/645",
    "shift_antidiagonal": "897/231/564",
    "swap_top": "456/123/789",
    "swap_bottom": "123/789/456",
    "swap_left": "213/546/879",
    "swap_right": "132/465/798",
    "ring_clockwise": "412/753/896",
    "ring_counter": "236/159/478",
    "swap_corners": "923/456/781",
    "swap_anticorners": "127/456/389",
    "slide_rows": "123/645/897",
    "slide_columns": "186/429/753",
    "reverse_top": "321/456/789",
    "reverse_middle": "123/654/789",
    "reverse_bottom": "123/456/987",
    "reverse_left": "723/456/189",
    "reverse_right": "129/456/783",
}
COPIED = {
    "spread_top": "123/123/123",
    "spread_bottom": "789/789/789",
    "spread_left": "111/444/777",
    "spread_right": "333/666/999",
    "spread_middle_row": "456/456/456",
    "spread_middle_column": "222/555/888",
    "mirror_top": "123/456/123",
    "mirror_bottom": "789/456/789",
    "mirror_left": "121/454/787",
    "mirror_right": "323/656/989",
    "symmetric_upper": "123/256/369",
    "symmetric_lower": "147/458/789",
}
PAINTED = {  # with 0
    "border": "000/050/000",
    "inside": "123/406/789",
    "top": "000/456/789",
    "bottom": "123/456/000",
    "left": "023/056/089",
    "right": "120/450/780",
    "middle_row": "123/000/789",
    "middle_column": "103/406/709",
    "diagonal": "023/406/780",
    "antidiagonal": "120/406/089",
    "corners": "020/456/080",
    "cross": "103/000/709",
    "saltire": "020/406/080",
    "checkers": "103/050/709",
    "above": "100/450/789",
    "below": "123/056/009",
}
# Of 12/03 in a frame of 2: what becomes of it with the colours 1 and 4.
FRAMED = "222/210/232"
COLOURED = {
    "recolour": "222/240/232",
    "exchange": "222/240/232",
    "erase": "222/200/232",
    "keep": "000/010/000",
    "fill": "222/211/232",
    "flatten": "111/110/111",
    "negative": "000/001/000",
}
WIDE = {  # of 1234/5678/9abc/defg, as hexadecimal and g = 16
    "mirror_left": "1221/5665/9aa9/deed",
    "mirror_bottom": "defg/9abc/9abc/defg",
    "swap_bottom": "1234/5678/defg/9abc",
    "ring_clockwise": "5123/9674/dab8/efgc",
    "reverse_middle": "1234/5678/cba9/defg",
    "shift_antidiagonal": "efgd/2341/6785/abc9",
    "slide_rows": "1234/8567/bc9a/efgd",
}


def grid(text):
    return np.array([[int(cell, 17) for cell in row] for row in text.split("/")])


def applied(name, text, colours=(0, 0)):
    return rule(name).apply(grid(text)[None], colours)[0]


@pytest.mark.parametrize(("name", "expected"), [*MOVED.items(), *COPIED.items()])
def test_moves_and_copies(name, expected):
    np.testing.assert_array_equal(applied(name, "123/456/789"), grid(expected))
    assert RULES[name].colours == 0


@pytest.mark.parametrize(("shape", "expected"), PAINTED.items())
def test_paintings(shape, expected):
    np.testing.assert_array_equal(applied(f"paint_{shape}", "123/456/789", (0, 5)), grid(expected))
    assert RULES[f"paint_{shape}"].colours == 1


@pytest.mark.parametrize(("name", "expected"), COLOURED.items())
def test_colour_rules(name, expected):
    np.testing.assert_array_equal(applied(name, FRAMED, (1, 4)), grid(expected))


def test_exchange_goes_both_ways():
    np.testing.assert_array_equal(applied("exchange", "123/456/789", (1, 9)), grid("923/456/781"))


@pytest.mark.parametrize(("name", "expected"), WIDE.items())
def test_larger_grids(name, expected):
    np.testing.assert_array_equal(applied(name, "1234/5678/9abc/defg"), grid(expected))


def test_every_rule_has_an_expectation():
    assert set(RULES) == {*MOVED, *COPIED, *(f"paint_{shape}" for shape in PAINTED), *COLOURED}


def test_a_composition_is_one_rule_after_the_other():
    np.testing.assert_array_equal(applied("flip_rows+paint_top", "123/456/789", (0, 0)), grid("000/456/123"))
    np.testing.assert_array_equal(applied("paint_top+flip_rows", "123/456/789", (0, 0)), grid("789/456/000"))
    assert rule("flip_rows+exchange").colours == 2


def test_inputs_are_left_alone():
    before = grid("120/456/780")[None]
    for name in RULES:
        given = before.copy()
        given.flags.writeable = False
        assert rule(name).apply(given, (1, 4)).shape == before.shape


@pytest.mark.parametrize("name", ["", "turn", "flip_rows+turn"])
def test_names_that_are_no_rule(name):
    with pytest.raises(ValueError, match="no rule"):
        rule(name)
