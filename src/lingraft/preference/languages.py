"""Languages: their ISO 639 codes and English names, as engines and filters need them."""

LANGUAGES: dict[str, tuple[str, str]] = {
    "af": ("afr", "Afrikaans"),
    "am": ("amh", "Amharic"),
    "ar": ("ara", "Arabic"),
    "az": ("aze", "Azerbaijani"),
    "be": ("bel", "Belarusian"),
    "bg": ("bul", "Bulgarian"),
    "bn": ("ben", "Bengali"),
    "bs": ("bos", "Bosnian"),
    "ca": ("cat", "Catalan"),
    "cs": ("ces", "Czech"),
    "cy": ("cym", "Welsh"),
    "da": ("dan", "Danish"),
    "de": ("deu", "German"),
    "el": ("ell", "Greek"),
    "en": ("eng", "English"),
    "eo": ("epo", "Esperanto"),
    "es": ("spa", "Spanish"),
    "et": ("est", "Estonian"),
    "eu": ("eus", "Basque"),
    "fa": ("fas", "Persian"),
    "fi": ("fin", "Finnish"),
    "fr": ("fra", "French"),
    "ga": ("gle", "Irish"),
    "gl": ("glg", "Galician"),
    "gu": ("guj", "Gujarati"),
    "ha": ("hau", "Hausa"),
    "he": ("heb", "Hebrew"),
    "hi": ("hin", "Hindi"),
    "hr": ("hrv", "Croatian"),
    "hu": ("hun", "Hungarian"),
    "hy": ("hye", "Armenian"),
    "id": ("ind", "Indonesian"),
    "ig": ("ibo", "Igbo"),
    "is": ("isl", "Icelandic"),
    "it": ("ita", "Italian"),
    "ja": ("jpn", "Japanese"),
    "jv": ("jav", "Javanese"),
    "ka": ("kat", "Georgian"),
    "kk": ("kaz", "Kazakh"),
    "km": ("khm", "Khmer"),
    "kn": ("kan", "Kannada"),
    "ko": ("kor", "Korean"),
    "la": ("lat", "Latin"),
    "lo": ("lao", "Lao"),
    "lt": ("lit", "Lithuanian"),
    "lv": ("lav", "Latvian"),
    "mk": ("mkd", "Macedonian"),
    "ml": ("mal", "Malayalam"),
    "mn": ("mon", "Mongolian"),
    "mr": ("mar", "Marathi"),
    "ms": ("msa", "Malay"),
    "mt": ("mlt", "Maltese"),
    "my": ("mya", "Burmese"),
    "nb": ("nob", "Norwegian"),
    "ne": ("nep", "Nepali"),
    "nl": ("nld", "Dutch"),
    "pa": ("pan", "Punjabi"),
    "pl": ("pol", "Polish"),
    "ps": ("pus", "Pashto"),
    "pt": ("por", "Portuguese"),
    "ro": ("ron", "Romanian"),
    "ru": ("rus", "Russian"),
    "si": ("sin", "Sinhala"),
    "sk": ("slk", "Slovak"),
    "sl": ("slv", "Slovene"),
    "so": ("som", "Somali"),
    "sq": ("sqi", "Albanian"),
    "sr": ("srp", "Serbian"),
    "sv": ("swe", "Swedish"),
    "sw": ("swa", "Swahili"),
    "ta": ("tam", "Tamil"),
    "te": ("tel", "Telugu"),
    "tg": ("tgk", "Tajik"),
    "th": ("tha", "Thai"),
    "tl": ("tgl", "Tagalog"),
    "tr": ("tur", "Turkish"),
    "uk": ("ukr", "Ukrainian"),
    "ur": ("urd", "Urdu"),
    "uz": ("uzb", "Uzbek"),
    "vi": ("vie", "Vietnamese"),
    "xh": ("xho", "Xhosa"),
    "yo": ("yor", "Yoruba"),
    "zh": ("zho", "Chinese"),
    "zu": ("zul", "Zulu"),
}
"""ISO 639-1 code to ISO 639-3 code and English name."""

OTHER_NAMES = (
    "Bengali",
    "Cantonese",
    "Farsi",
    "Filipino",
    "Gaelic",
    "Mandarin",
    "Old English",
    "Sanskrit",
    "Yiddish",
)
"""Names that prompts use beside those of `LANGUAGES`."""

_OTHER_CODES = {
    "sw": ("swh",),
    "fa": ("pes", "prs"),
    "ar": ("arb",),
    "et": ("ekk",),
    "lv": ("lvs",),
    "ms": ("zsm",),
}
_OTHER_CODES |= {
    "az": ("azj",),
    "mn": ("khk",),
    "sq": ("als",),
    "uz": ("uzn",),
    "zh": ("cmn",),
    "ne": ("npi",),
}
"""ISO 639-3 codes of the one language that such a macrolanguage's models and packages mean."""


def language_name(code: str) -> str:
    """Return a language's English name, or the code where it is not known here."""
    return LANGUAGES[code][1] if code in LANGUAGES else code


def codes_of(code: str) -> tuple[str, ...]:
    """Return the codes by which engines may know a language: as given, then those of ISO 639-3.

    Args:
        code: An ISO 639-1 code, or any other.

    Returns:
        The codes, the given one first.
    """
    if code not in LANGUAGES:
        return (code,)
    return (code, LANGUAGES[code][0], *_OTHER_CODES.get(code, ()))


def short_code(code: str) -> str:
    """Return the ISO 639-1 code of a three-letter code, or the code itself where there is none."""
    for short in LANGUAGES:
        if code in codes_of(short):
            return short
    return code
