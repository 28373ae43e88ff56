"""What customers wrote, without what names or reaches a person."""

from streams.privacy.masking import mask


def masked(text: str, longest: int = 280) -> str:
    """
    Return what a customer wrote without personal data, and not longer than `longest` characters.

    What is stored is without it already, unless that is switched off. Order numbers and amounts stay: they are what a
    complaint is about.
    """
    plain = mask(text, instead=lambda _written, _kind: "•••").text.strip()
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"
