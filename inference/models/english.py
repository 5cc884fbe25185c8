"""Words of English that name nothing."""

from typing import Final

# English function words, and verbs and adverbs that name no subject
COMMON: Final = frozenset(
    """
    a about above across after again against all almost alone along already also although always
    am among an and another any anybody anyone anything are around as at away be became because
    become been before behind being below between both but by came can cannot come could did do
    does doing done down during each either else enough even ever every everybody everyone
    everything few first for from full further gave get give given go goes going gone got had
    has have having he her here hers herself him himself his how however i if in inside instead
    into is it its itself just keep kept last later least less let like made make many may me
    might mine more most much must my myself near neither never next no nobody none nor not
    nothing now of off often on once one only onto or other others our ours ourselves out
    outside over own per perhaps put quite rather really said same say says see seem seemed
    seems several shall she should since so some somebody someone something sometimes soon still
    such take taken tell than that the their theirs them themselves then there therefore these
    they thing things this those though through thus to today together too took toward towards
    under until up upon us use used uses using very was way we well went were what whatever when
    where whether which while who whole whom whose why will with within without would yes
    yesterday yet you your yours yourself
    """.split()  # noqa: SIM905 - as a list it takes two hundred lines
)
