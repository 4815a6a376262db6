"""The rules of the PTB tokenizer of CoreNLP 3.4.1 with default options, in order of priority.

At a position the rule with the longest match, look-ahead counted, makes the token; of equally long ones the first.
The rules were written from a description of the tool's behaviour and checked against its output. They are matched
against shapes (ptb_characters.py), where every letter beyond ASCII is one and the same character.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from nlg_metrics.tokenizers.ptb_characters import DIGIT, LETTER, MARK, SPACE, SYMBOL

_SPACE = rf" \t\xa0{SPACE}"
_WS = rf"[{_SPACE}\r\n\x85]"
_A = "A-Za-z"
_L, _D = f"{_A}{LETTER}", f"0-9{DIGIT}"
_LPLUS = rf"{_L}{MARK}\xad"
_ENTITY = "(?i:&[aeiou](?:acute|grave|uml);)"
_LETTER = f"(?:[{_LPLUS}]|{_ENTITY})"
# Unrolled, so that a failing look-ahead cannot make the engine try every way to cut a long word.
_LETTERS = f"{_LETTER}[{_LPLUS}]*(?:{_ENTITY}[{_LPLUS}]*)*"
_ALNUMS = f"[{_LPLUS}{_D}]*(?:{_ENTITY}[{_LPLUS}{_D}]*)*"
_ALNUM = f"(?:[{_LPLUS}{_D}]|{_ENTITY})"
_WORD = rf"{_LETTER}{_ALNUMS}(?:[.!?]{_LETTER}{_ALNUMS})*"
_APOS = r"(?:['\u2019\x92]|(?i:&apos;))"
_APOS_WIDE = r"(?:['\u2019\x92`\u2018\u201b\x91]|(?i:&apos;))"
_HYPHEN = r"[-_\u2010\u2011\u058a]"
_PAUSE = r"[,;:\u3001]"
_NUMBER = rf"(?:[{_D}]+(?:[.:,\xad\u066b\u066c][{_D}]+)*|(?:[.:,\xad\u066b\u066c][{_D}]+)+)"
_CLITIC = f"{_APOS}(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"
_NT = f"[nN]{_APOS_WIDE}[tT]"
_LETTERS_DOTTED = f"[{_A}](?:\\.[{_A}])*"
_ACRONYM = (
    r"(?:(?i:(?:Canada|Sino|Korean|EU|Japan|non)-U\.S)|(?i:U\.S\.-(?:U\.K|U\.S\.S\.R))"
    rf"|{_LETTERS_DOTTED})"
)
_ACRONYM_2 = (
    r"(?:(?i:(?:Canada|Sino|Korean|EU|Japan|non)-U\.S)|(?i:U\.S\.-(?:U\.K|U\.S\.S\.R))"
    rf"|[{_A}](?:\.[{_A}])+)"
)
_NAME = rf"[{_A}][{_A}0-9_.:\-]*"
_ATTRIBUTE = rf""" +{_NAME}(?: *= *(?:"[^"\n]*"|'[^'\n]*'))?"""
_TAG = rf"(?:<{_NAME}(?:{_ATTRIBUTE})* */? *>|</{_NAME} *>|<[!?][{_A}\-][^>\r\n]*>)"
_THING_PART = f"(?:[dDoOlL]{_APOS_WIDE}[{_L}{_D}])?[{_L}{_D}]+"
_THING = f"{_THING_PART}(?:{_HYPHEN}{_THING_PART})*"
_HYPHENATED = rf"[{_A}0-9][{_A}0-9.,\xad]*(?:-(?:{_ACRONYM_2}\.|[{_A}0-9\xad]+))+"
_UNIT = f"[{_A}0-9]+(?:-[{_A}]+){{0,2}}"
_CAPITALS = "[A-Z]+(?:(?:[&+]|&amp;)[A-Z]+)+"


def _words(text: str) -> str:
    """Alternatives from a list of words, the longest first so that none hides a longer one."""
    return "|".join(sorted(text.split(), key=len, reverse=True))


def _capitalised(text: str) -> str:
    """As `_words`, the first letter a capital, the rest in either case."""
    return "|".join(f"{word[0]}(?i:{word[1:]})" for word in _words(text).split("|"))


_MONTHS_DAYS_STATES = _words(
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri "
    "ala ariz calif colo conn ct dak fla ga ind kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis "
    "wisc wyo"
)
_CAPITAL_STATES = _capitalised("Az Ark Del Ill La Mass Miss Ore Pa Tex Wash")
_COMPANIES = _words(
    "inc co cos corp pty ptys pte ptes ppty ppties ltd plc rt bancorp bhd assn univ intl sys tel est ext sq "
    "jr sr bros ed\\.d ph\\.d blvd rd esq etc al seq bldg"
)
_ABBREVIATION_1 = f"(?:(?i:{_MONTHS_DAYS_STATES}|{_COMPANIES})|(?:{_CAPITAL_STATES}))"
_TITLES = _words(
    "mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov govs adm rev maj sgt cpl pvt "
    "capt st ste ave pres lieut hon brig cmdr comdr pfc spc supt supts det mt ft adj adv asst assoc ens insp mlle "
    "mme msgr sfc vs alex wm jos cie a\\.k\\.a cf treas ph invt elec natl mfg mtg dept"
)
_STARTER_WORDS = _capitalised(
    "About According Additionally After An A As At But Earlier He Her Here However If In It Last Many More "
    "Mr\\. Ms\\. Now Once One Other Our She Since So Some Such That The Their Then There These They This We "
    "When While What Yet You"
)
_STARTERS = f"(?:{_STARTER_WORDS}|{_TAG})"
_NUMBERED = _words("ca fig figs prop no nos art bldg pp op")
# An ASCII word with a full stop is an ordinary sentence end unless it is one of these.
_STATES = "az|ark|del|ill|la|mass|miss|ore|pa|tex|wash"
ABBREVIATIONS = frozenset("|".join([_MONTHS_DAYS_STATES, _COMPANIES, _TITLES, _NUMBERED, _STATES]).split("|"))
# These words are cut in two.
CONTRACTIONS = frozenset(["cannot", "gonna", "gotta", "lemme", "gimme", "wanna"])
_EXTENSIONS = _words(
    "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py "
    "sql tar txt wav x xml zip"
)
_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_QUOTES = {
    "‘": "`", "‛": "`", "\x91": "`", "‹": "`",
    "’": "'", "›": "'", "\x92": "'",
    "“": "``", "«": "``", "\x93": "``",
    "”": "''", "»": "''", "\x94": "''",
}  # fmt: skip
_CURRENCY = {"£": "#", "\x80": "$", "€": "$", "¤": "$", "₠": "$", "¢": "cents"}
_FRACTIONS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}

_URL_STOP = r' \t\r\n"()<>|'
_URL_END = rf"{_URL_STOP}{{}}.!?,\-"
_SITE_STOP = rf"{_URL_STOP}'`!${{}},-_"

Mapping = Callable[[str], str]
Action = Callable[[str], "str | None"]


def _keep(text: str) -> str:
    return text


def _drop(text: str) -> None:
    return None


def _no_soft_hyphens(text: str) -> str:
    return text.replace("\xad", "") or "-"


def _map(table: dict[str, str]) -> Mapping:
    return lambda text: "".join(table.get(character, character) for character in text)


def _quotes(text: str) -> str:
    return _map(_QUOTES)(text.replace("&apos;", "'"))


def _double_quote(text: str) -> str:
    # In capitals the entity is recognised but not translated, hence not dropped as punctuation.
    return "''" if text in ('"', "&quot;") else text


def _amp(text: str) -> str:
    return re.sub("(?i:&amp;)", "&", text)


def _no_break(text: str) -> str:
    return text.replace(" ", "\xa0")


def _round(text: str) -> str:
    return text.replace("(", "-LRB-").replace(")", "-RRB-")


def _phone(text: str) -> str:
    return _map({**_BRACKETS, " ": "\xa0"})(text)


def _dashes(text: str) -> str:
    return "--" if len(text) in (3, 4) else text


@dataclass(frozen=True)
class Rule:
    """One rule: what it matches, what it may look ahead at, and the token it makes.

    Attributes:
        name: a label for debugging.
        first: the characters it can start with, the inside of a character class.
        expression: what it matches; group 1, where present, is the look-ahead.
        action: token from the matched text; None makes no token.
        looks_ahead: whether the pattern has a group 1.
        needs: a character without which in the rest of the line it cannot match; saves vain searches.
        run: what the rule reads before it can fail. Where it fails, it fails at each later position inside this too,
            for a match from there would be the end of one from here; so long runs take linear time. Default: "".
    """

    name: str
    first: str
    expression: str
    action: Action
    looks_ahead: bool
    needs: str
    run: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The compiled expression."""
        return re.compile(self.expression)

    @cached_property
    def run_pattern(self) -> re.Pattern[str]:
        """The compiled run."""
        return re.compile(self.run)


RULES: list[Rule] = []


def _rule(
    name: str, first: str, token: str, action: Action | str = _keep, ahead: str = "", needs: str = "", run: str = ""
) -> None:
    constant = action
    act: Action = (lambda text: constant) if isinstance(constant, str) else constant
    expression = f"(?:{token})(?=({ahead}))" if ahead else f"(?:{token})"
    RULES.append(Rule(name, first, expression, act, bool(ahead), needs, run))


_ANY_WORD = _LPLUS + "&"
_Q1 = r"'\u2019\x92&"
_Q2 = _Q1 + r"`\u2018\u201b\x91"


def _define() -> None:
    """Fill `RULES`. The comments give the kind of text; the order is the priority."""
    _rule("language", "cCfF", r"[cC]\+\+|[cCfF]\#")
    _rule("cannot", "cC", "(?i:can)", ahead="(?i:not)")
    _rule("'twas", _Q1, f"{_APOS}[tT]", ahead="(?i:was)")
    _rule("'tis", "'", "'[tT]", ahead="(?i:is)")
    _rule(
        "gonna",
        "gGwWlL",
        "(?i:gon|wan|lem|gim|got)",
        ahead="(?i:(?<=gon)na|(?<=wan)na|(?<=lem)me|(?<=gim)me|(?<=got)ta)",
    )
    _rule("tag", "<", _TAG, _no_break, run=rf"<[!?][{_A}\-][^>\r\n]*")
    _rule("dash", r"\u2013-\u2015\x96\x97&", r"[\u2013-\u2015\x96\x97]|(?i:&(?:MD|mdash|ndash);)", "--")
    _rule("&amp;", "&", "(?i:&amp;)", "&")
    _rule("old entity", "&", "(?i:&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);)")
    _rule("word'clitic", _ANY_WORD, _WORD, _no_soft_hyphens, _CLITIC)
    _rule("word n't", _A + r"\xad", rf"[{_A}\xad]*[A-MO-Za-mo-z]\xad*", _no_soft_hyphens, _NT)
    _rule("word", _ANY_WORD, _WORD, _no_soft_hyphens)
    # Not one rule of alternatives: the longest must win.
    for apostrophe_word, first in (
        (rf"{_APOS}[nN]{_APOS}?", _Q1),
        (rf"[lLdDjJ]{_APOS}", "lLdDjJ"),
        (rf"(?i:dunkin|somethin|ol){_APOS}", "dDsSoO"),
        (rf"{_APOS}(?i:em|till?|cause|twas)|{_APOS}[2-9]0[sS]", _Q1),
        (
            rf"(?i:cont{_APOS}d\.?|nor{_APOS}easter|c{_APOS}mon|e{_APOS}er|s{_APOS}mores|ev{_APOS}ry|li{_APOS}l"
            rf"|nat{_APOS}l)",
            "cCnNeEsSlL",
        ),
        (rf"[A-HJ-XZn]{_APOS_WIDE}[{_L}]{{2,}}", "A-HJ-XZn"),
        (rf"[{_L}]+[aeiouyAEIOUY]{_APOS_WIDE}[aeiouA-Z][{_L}]*", _L),
        (rf"[oO]{_APOS_WIDE}[oO]", "oO"),
    ):
        _rule("apostrophe word", first, apostrophe_word)
    _rule("y'", "yY", f"[yY]{_APOS}", ahead=f"[{_A}]")
    _rule("url", "hH", rf"(?i:https?)://[^{_URL_STOP}{{}}]+[^{_URL_END}]")
    label, path = rf"[^{_URL_STOP}.!?{{}},]+\.", rf"(?:/[^{_URL_STOP}]+[^{_URL_END}])?"
    _rule("www", "wW", rf"(?i:www)\.(?:{label})+[{_A}]{{2,4}}{path}", run=rf"(?i:www)\.(?:{label})+")
    sites = rf"(?:[^{_SITE_STOP}]+\.)+"
    _rule("site", rf"^{_SITE_STOP}.", rf"{sites}(?i:com|net|org|edu){path}", needs=".", run=sites)
    mail = r" \t\r\n\"()<>{|}\xa0"
    _rule(
        "e-mail",
        _A + "0-9<&",
        f"(?:<|(?i:&lt;))?[{_A}0-9][^{mail}]*@(?:[^{mail}.]+\\.)*[^{mail}.]+(?:>|(?i:&gt;))?",
        needs="@",
        run=f"(?:<|(?i:&lt;))?[{_A}0-9][^{mail}]*",
    )
    _rule("@name", "@", f"@[{_A}_][{_A}_0-9]*")
    _rule("#topic", "#", f"#{_LETTERS}")
    _rule("clitic+", _Q1, _CLITIC, _quotes, f"[^{_A}]")
    _rule("n't+", "nN", _NT, _quotes, f"[^{_A}]")
    _rule("date", _D, rf"[{_D}]{{1,2}}[-/][{_D}]{{1,2}}[-/][{_D}]{{2,4}}")
    _rule("number", _D + r"+\-.:,\xad\u066b\u066c", f"[-+]?{_NUMBER}", _no_soft_hyphens)
    _rule(
        "superscript",
        "⁺⁻₊₋⁰¹²³⁴-⁹₀-₉",
        "[⁺⁻₊₋]?(?:[⁰¹²³⁴-⁹]+|[₀-₉]+)",
    )
    _rule("fraction", _D, rf"(?:[{_D}]{{1,4}}[- \xa0])?[{_D}]{{1,4}}(?:\\?/|⁄)[{_D}]{{1,4}}", _no_break)
    _rule("fraction sign", "¼½¾⅓⅔⅕-⅞", "[¼½¾⅓⅔⅕-⅞]", _map(_FRACTIONS))
    _rule(
        "special",
        r"\-cCpPaAsS",
        rf"(?i:-LRB-|-RRB-|-LCB-|-RCB-|-LSB-|-RSB-|C\.D\.s|pro-|anti-|S(?:&|&amp;)P-500|S(?:&|&amp;)Ls"
        rf"|Cap{_APOS}n|c{_APOS}est)",
        _amp,
    )
    _rule("slashes", _A + "0-9", rf"{_UNIT}(?:\\?/{_UNIT}){{1,2}}")
    _rule("dollar", "A-Z$#", r"[A-Z]*\$|\#")
    _rule("currency", "£€¢¥¤\x80₠₤\u060b฿￠￡￥￦", "[£€¢¥¤\x80₠₤\u060b฿￠￡￥￦]", _map(_CURRENCY))
    _rule("letter. Starter", _A, _LETTERS_DOTTED.replace("*", "{0}"), ahead=rf"\.{_WS}+{_STARTERS}{_WS}")
    _rule("U.S. Starter", _A, rf"{_ACRONYM_2}\.", ahead=rf"{_WS}+{_STARTERS}{_WS}")
    _rule("No. 5", _A, rf"(?i:{_NUMBERED})\.", ahead=rf"{_WS}?[{_D}]")
    _rule("co. ltd", _A, r"(?i:pty|pte|co)\.", ahead=rf"[{_SPACE}](?i:ltd|lim)")
    _rule("abbreviation 1", _A, rf"{_ABBREVIATION_1}\.", ahead=r"(?s:..)")
    _rule("abbreviation 1 near the end", _A, rf"{_ABBREVIATION_1}\.")
    _rule("title", _A, rf"(?:(?i:{_TITLES})|M(?i:iss))\.")
    _rule("U.S.", _A, rf"{_ACRONYM}\.")
    _rule("acronym", _A, _ACRONYM, ahead=_WS)
    _rule("year", _Q1, f"{_APOS}[0-9]{{2}}", ahead=_WS)
    _rule(
        "file name",
        _ANY_WORD + _D,
        rf"(?:{_ALNUM}{_ALNUMS}\.)+(?i:{_EXTENSIONS})",
        ahead=rf"{_WS}|[.?!,]",
        run=rf"(?:{_ALNUM}{_ALNUMS}\.)+",
    )
    _rule("word.,", _ANY_WORD, rf"{_WORD}\.", _no_soft_hyphens, _PAUSE)
    _rule(
        "phone",
        "(+0-9",
        r"(?:\([0-9]{2,3}\)[ \xa0]?|(?:\+\+?)?(?:[0-9]{2,4}[- \xa0])?[0-9]{2,4}[- \xa0])"
        r"[0-9]{3,4}[- \xa0]?[0-9]{3,5}"
        r"|(?:\+\+?)?(?:[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
        _phone,
    )
    _rule("opening quote", '"&', '"|(?i:&quot;)', _double_quote, f"[{_A}0-9$]")
    _rule("quote", '"&', '"|(?i:&quot;)', _double_quote)
    _rule("no-break space", "&", "(?i:&nbsp;)", _drop)
    _rule("delete", "\x7f", "\x7f", _drop)
    _rule("less", "<&", "<|(?i:&lt;)", "<")
    _rule("greater", ">&", ">|(?i:&gt;)", ">")
    _rule(
        "smiley",
        "<>:;=",
        r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]",
        _round,
        f"[^{_A}0-9]",
    )
    eyes = r"[\^x=~<>'\-]"
    _rule(
        "eastern smiley",
        r"\^x=~<>'\-(",
        rf"{eyes}_{eyes}|\({eyes}[_.]?{eyes}\)|\([\^x=~<>']-[\^x=~<>'`]\)",
        _round,
    )
    _rule("bracket", r"{}\[\]()", r"[{}\[\]()]", _map(_BRACKETS))
    _rule("hyphens", r"\-", "-+", _dashes)
    _rule("ellipsis", r".…\x85", r"\.{3,5}|\.(?:[ \xa0]\.){2,4}|[…\x85]", "...")
    _rule("run", "@#_", r"@+|\#+|_+")
    _rule("stars", r"*\\", r"\*+|(?:\\\*){1,3}")
    _rule("pause", ",;:\u3001", _PAUSE)
    _rule("exclamation", "?!", "[?!]+")
    _rule(
        "stop",
        ".¡¿\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002",
        "[.¡¿\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]",
    )
    _rule("space", _SPACE, f"[{_SPACE}]+", _drop)
    _rule("= or /", "=/", "[=/]")
    before_hyphen = rf"[{_A}0-9][{_A}0-9.,\xad]*"
    _rule("hyphenated.,", _A + "0-9", rf"{_HYPHENATED}\.", _no_soft_hyphens, _PAUSE, needs="-", run=before_hyphen)
    _rule("hyphenated", _A + "0-9", _HYPHENATED, _no_soft_hyphens, needs="-", run=before_hyphen)
    _rule("thing.,", _ANY_WORD + _D, rf"{_THING}\.", _no_soft_hyphens, _PAUSE)
    _rule("thing", _ANY_WORD + _D, _THING, _no_soft_hyphens)
    _rule("AT&T.,", "A-Z", rf"{_CAPITALS}\.", _amp, _PAUSE)
    _rule("AT&T", "A-Z", _CAPITALS, _amp)
    _rule("'quoted", "'", "'", "`", rf"[{_A}][^ \t\n\r\xa0]")
    _rule("clitic", _Q1 + "nN", f"{_CLITIC}|{_NT}", _quotes)
    _rule(
        "other quotes",
        _Q2 + "‘’‚‛“”„‟‹›«»\x91-\x94",
        f"''|[`‘’‚‛“”„‟‹›«»\x91-\x94]{{1,2}}|{_APOS}",
        _quotes,
    )
    _rule("angles", "<>", "<<|>>")
    symbols = rf"+%&~\^|\\{SYMBOL}¡¥¿¹²³⁰⁴-⁹⁺⁻₀-₉₊₋⅕-⅞\u037e\u061f\u06d4\u0700-\u0702‚„‟‹›⁄₤、。￠￡￥￦\u0e3f\u060b"
    _rule("symbol", symbols, f"[{symbols}]")


_define()
