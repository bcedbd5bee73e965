# ruff: noqa: SIM905  (a split string reads better than 250 quoted codes)
"""Country codes: which exist, and where the EU's AI Act applies. Data alone."""

from typing import Final

ISO_3166: Final = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()
)
"""ISO 3166-1 alpha-2, all 249 assigned codes."""

_MEMBERS: Final = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())
_OUTERMOST: Final = frozenset("AX GF GP MF MQ RE YT".split())
"""Parts of member states with a code of their own where Union law applies (Art. 355(1) TFEU; Åland)."""
_EEA: Final = frozenset("IS LI NO".split())

EU_EEA: Final = _MEMBERS | _OUTERMOST | _EEA | {"EU", "EEA", "EL"}
"""Where Art. 5(1)(f) AI Act counts; "EL" is the Union's own code for Greece."""

KNOWN: Final = ISO_3166 | EU_EEA | {"UK"}
"""Every code that [policy] jurisdiction takes."""
