"""Which passwords are refused: by length, by how common they are, by the user name in them (NIST SP 800-63B)."""

from __future__ import annotations

MIN_CHARACTERS = 10
MAX_CHARACTERS = 128
MIN_DISTINCT = 5

# What the lists of leaked passwords begin with, reduced to what passes the length: a word or a run, and its fillers.
_COMMON = frozenset(
    (
        *("password", "passwort", "passw0rd", "p@ssword", "p@ssw0rd", "motdepasse", "contrasena"),
        *("letmein", "welcome", "administrator", "superman", "batman", "football", "baseball"),
        *("basketball", "liverpool", "manchester", "iloveyou", "princess", "sunshine", "starwars"),
        *("trustno", "whatever", "changeme", "monkey", "dragon", "master", "shadow", "michael"),
        *("jennifer", "computer", "internet", "samsung", "pokemon", "chocolate", "butterfly"),
        *("socialflow", "secret", "login", "access", "hello", "test", "user", "admin"),
    )
)
_RUNS = (
    *("abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm"),
    *("1234567890" * 3, "0987654321" * 3, "1q2w3e4r5t6y7u8i9o0p", "1qaz2wsx3edc4rfv5tgb6yhn"),
)
_FILLERS = "0123456789!@#$%&*?._- "


def objection(password: str, username: str) -> str | None:
    """Return why this password cannot be taken, without repeating it, or None."""
    plain = password.casefold()
    if username.casefold() in plain:
        return "the password must not contain the user name"
    if len(set(plain)) < MIN_DISTINCT:
        return f"the password needs at least {MIN_DISTINCT} different characters"
    if _is_common(plain):
        return "the password is a common one; choose another"
    return None


def _is_common(plain: str) -> bool:
    """Whether nothing is left of it but a common word, once or again, or a run along the keyboard."""
    core = plain.strip(_FILLERS)
    if core in _COMMON or any(plain in run or plain[::-1] in run for run in _RUNS):
        return True
    if any(core and core == word * (len(core) // len(word)) for word in _COMMON):
        return True
    return len(core) >= MIN_DISTINCT and any(core in run or core[::-1] in run for run in _RUNS)
