"""Words that stand on signs: short common ones, of three to seven letters, and numbers."""

from __future__ import annotations

import numpy as np

from transprune.smol.kinds import Split, numbers_of

_TEXT = """
able about above again agree air alarm album alone amber angle apple april arena arrow artist
autumn award baker basic beach begin below berry best bird black block board boat bold bonus
book border bottle brave bread bridge bright bring brown build cabin cable camp candle canyon
carbon castle center chain chalk change cheap check chess chief choice circle city class clean
clear clever clock closed cloud club coast coffee color common copper corner cotton couple cover
craft cream cross crowd daily dance danger dawn deep desert design detail dinner direct dollar
door double draft dream drive early earth east easy effort eight empty engine enjoy enter
equal event every exit extra fabric factor family famous farm fast favor field fifty final fire
first fish five flag float floor flower focus forest forty found four frame free fresh friday
friend front frozen fruit full future game garden gate gentle giant glass global gold good grand
gravel green group guard guest guide habit half happy harbor hard heavy hello help hidden high
hill home honest hope hotel hour house hunt icon idea inside iron island item jacket join jump
junior just keep kind king kitchen ladder lake large laser later law leader left lemon level
light limit line linen lion list little local logic long lost lucky lunar lunch magic main maple
march market master match meadow medal memory menu metal middle milk mill mine minute mirror
mobile modern moment monday month moon morning motion music narrow nation nature near never new
night nine noble normal north notice number oak ocean offer office often olive open orange orbit
order other outlet oval owner oxygen paint palace paper park party path peace pearl pencil people
phone photo piano pilot planet plant plate plaza pocket point polar police pond poster pretty
price prime prize proud public pull pure push quick quiet radio rain rapid ready record region
rent rescue rest rice right ring river road rocket room round royal ruby rule safe sail salad
salt sample sand school score season second secret seven shadow sharp shelf shine shop short
show silent silk silver simple sister six slow small smart smooth snow social soft soup south
space spark speed spice sport spring square stage start state steel stop storm story street
strong studio style sugar summer sunday sunny sunset supply sweet system table talent target
taxi team ten test thank theater thing three ticket tiger timber time tiny today token tower
town track trade train travel tree triple true trust tunnel turn twelve twenty twin under union
unique upper urban useful valley value velvet view village violet visit voice wagon walk warm
water wave wealth week west wheel white wide wild wind window winter wise wonder wood world
yellow yes young zebra zero zone
"""
WORDS = tuple(_TEXT.split())

_NUMBERS = 0.2  # share of signs with a number of two or three digits


def draw_word(rng: np.random.Generator, split: Split, unseen: bool = False) -> str:
    """A word of the training, or an unseen one of the split, in lower case; or a number."""
    # both are drawn each time, so that what follows does not depend on which one it is
    words = numbers_of(WORDS, split if unseen else "train")
    word = WORDS[words[rng.integers(len(words))]]
    number = str(rng.integers(10, 1000))
    return number if rng.random() < _NUMBERS else word
