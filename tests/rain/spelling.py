"""A tokenizer that is a list of texts."""


class Spelling:
    """Token i is `texts[i]`; `special` tokens have no text."""

    eos_token_id = None
    bos_token = None
    chat_template = None

    def __init__(self, texts, special=()):
        self.texts, self.special, self.added_tokens_decoder = list(texts), set(special), {}

    def __len__(self):
        return len(self.texts)

    def encode(self, text, add_special_tokens=True):
        found = []
        while text:
            token = max(
                (i for i, t in enumerate(self.texts) if t and text.startswith(t)), key=lambda i: len(self.texts[i])
            )
            found.append(token)
            text = text[len(self.texts[token]) :]
        return found

    def decode(self, tokens, skip_special_tokens=False, **options):
        return "".join(self.texts[t] for t in tokens if t not in self.special)

    def batch_decode(self, rows, **options):
        return [self.decode(row) for row in rows]
