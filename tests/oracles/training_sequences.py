"""Training sequences of a self-edit, character by character: no regular expression, no cleverness."""


def oracle(completion: str, title: str, context: str, split_newlines: bool) -> list[str]:
    segments = dashed(completion)
    if split_newlines:
        if labels(completion) and answers(completion):
            segments = pairs(completion.strip())
        else:
            segments = preambled([line.strip() for s in segments for line in s.splitlines() if line.strip()])
    return [title + "\n" + segment for segment in segments] + [title + "\n" + context.strip()]


def dashed(completion: str) -> list[str]:
    found, current, i = [], "", 0
    while i < len(completion):
        if completion[i : i + 3] == "---":
            found.append(current)
            current, i = "", i + 3
        else:
            current += completion[i]
            i += 1
    found = [s.strip() for s in [*found, current]]
    found = [s for s in found if s != ""]
    return found if found else [completion.strip()]


def labels(text: str) -> list[int]:
    """Where `Question <white space> <digits>:` starts."""
    return [i for i in range(len(text)) if text.startswith("Question", i) and is_label(text[i + 8 :])]


def is_label(rest: str) -> bool:
    spaces = len(rest) - len(rest.lstrip())
    number = rest[spaces:]
    digits = 0
    while digits < len(number) and number[digits].isdecimal():
        digits += 1
    return spaces > 0 and digits > 0 and number[digits : digits + 1] == ":"


def answers(text: str) -> bool:
    return any(text[i + 6 :].lstrip()[:1] == ":" for i in range(len(text)) if text.startswith("Answer", i))


def pairs(text: str) -> list[str]:
    cuts = [i - 1 for i in labels(text) if i > 0 and text[i - 1] == "\n"]
    starts, ends = [0] + [c + 1 for c in cuts], [*cuts, len(text)]
    parts = [text[a:b] for a, b in zip(starts, ends)]
    if parts[0][:8] != "Question":
        parts[0] = "Question 1: " + parts[0].strip()
    return parts


def preambled(lines: list[str]) -> list[str]:
    return lines[1:] if len(lines) >= 2 and lines[1][:2] == "1." else lines
