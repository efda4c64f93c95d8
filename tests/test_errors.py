from __future__ import annotations

from singletrack.errors import LONGEST_MESSAGE, InputError, show_value


def test_long_messages_are_shortened_in_the_middle() -> None:  # C17: one was 335 MB
    message = str(InputError("expected a name; got " + "x" * 10**6 + "; give another"))
    assert len(message) <= LONGEST_MESSAGE
    assert message.startswith("expected a name; got xxx")
    assert message.endswith("xxx; give another")


def test_control_characters_are_escaped() -> None:  # C33: a name may hold an escape sequence of the terminal
    assert str(InputError("got \x1b[31mred\x07, line 1\nline 2")) == "got \\x1b[31mred\\x07, line 1\nline 2"


def test_any_value_can_be_shown() -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError

    assert show_value("short") == "'short'"
    assert show_value(Unshowable()).startswith("<Unshowable instance")
    assert len(show_value(10**5000)) < 100
    assert len(show_value(list(range(10**6)))) < 100
