from check import EXERCISES, need


def check(tree):
    row = tree.answer("con-layout.row", "what the keys 2, 3 and so on to the right of them type "
                      "with shift in your layout, as in `@#$%^&*()_+` for the old one, with a `.` "
                      "for what is not ASCII")
    need(len(row) > 7, "con-layout.row: the row has more keys than that")
    tree.host(EXERCISES / "con-layout.c", row)
