"""Queries to ask of a world. Explicit ones name a class, implicit ones describe it, absent ones fit nothing.

About a fifth of the wordings of each class is never used in training. Evaluated on those, a model shows
whether it understands a query or remembers a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pipeline.world.classes import CLASSES


class QueryKind(StrEnum):
    """How a query relates to what a world can hold."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Query:
    """One wording, and what answers it."""

    query: str
    """Plain ASCII, without control tokens."""
    class_name: str
    """The class that answers it; empty when no world holds an answer."""
    kind: QueryKind
    held_out: bool
    """True: for evaluation only, never shown in training."""


# A leading "*" marks a held-out wording.
_EXPLICIT: dict[str, tuple[str, ...]] = {
    "storage_tank": (
        "storage tanks", "all the storage tanks", "find every storage tank", "round storage tanks",
        "oil tanks", "fuel tanks", "segment the cylindrical tanks", "tank farm", "*show me each storage tank",
        "*the circular tanks in this image",
    ),
    "building": (
        "buildings", "all the buildings", "find every building", "houses", "houses and other buildings",
        "roofs", "segment the building footprints", "every roof you can see", "*outline each building",
        "*show me the houses",
    ),
    "lake": (
        "lakes", "all the lakes", "find every lake", "lakes and ponds", "water bodies", "ponds",
        "segment the water bodies", "open water", "*outline each lake", "*show me the lakes in this image",
    ),
    "ripe_field": (
        "ripe fields", "all the ripe crop fields", "find every ripe field", "golden fields",
        "yellow crop fields", "ripe grain fields", "segment the ripe fields", "fields of ripe wheat",
        "*show me the ripe crop fields", "*outline each golden field",
    ),
    "green_field": (
        "green fields", "all the green crop fields", "find every green field", "green cropland",
        "fields with green crops", "segment the green fields", "green farm fields", "unripe crop fields",
        "*show me the green crop fields", "*outline each green field",
    ),
    "runway": (
        "runways", "the runway", "find every runway", "airport runways", "landing strips", "airstrips",
        "segment the runway", "all the runways", "*outline each runway", "*show me the airstrip",
    ),
    "pool": (
        "swimming pools", "all the swimming pools", "find every swimming pool", "pools", "backyard pools",
        "private pools", "segment the swimming pools", "garden pools", "*show me each swimming pool",
        "*outline the pools",
    ),
    "greenhouse": (
        "greenhouses", "all the greenhouses", "find every greenhouse", "glasshouses", "plastic greenhouses",
        "polytunnels", "segment the greenhouses", "every glasshouse", "*show me the greenhouses",
        "*outline each greenhouse",
    ),
    "solar_array": (
        "solar arrays", "all the solar panels", "find every solar array", "solar panels",
        "photovoltaic arrays", "solar farms", "segment the solar arrays", "photovoltaic panels",
        "*show me the solar panels", "*outline each solar array",
    ),
}  # fmt: skip

_IMPLICIT: dict[str, tuple[str, ...]] = {
    "storage_tank": (
        "facilities that should be monitored for leaks", "where is fuel kept in bulk?",
        "places that hold large volumes of liquid in steel", "round steel containers",
        "which structures could spill oil?", "where would a chemical fire be hardest to put out?",
        "round industrial structures that hold petroleum", "what stores crude oil before it is refined?",
        "where could liquid chemicals be stockpiled?",
        "objects an inspector would check for corrosion and seepage", "*where are oil products kept?",
        "*structures whose contents might leak into the ground",
    ),
    "building": (
        "where do people live or work?", "structures that people can enter",
        "where would people seek shelter from rain?", "places with a roof over them where families stay",
        "what should be checked for survivors after an earthquake?", "structures that need an address",
        "where do residents sleep at night?", "what would be connected to the mains supply?",
        "places that house people", "which structures should be counted for a census?",
        "*where might people be indoors?", "*structures to check for damage to homes",
    ),
    "lake": (
        "open water that could supply a fire-fighting helicopter", "where could one go boating?",
        "where do fish live?", "areas that hold fresh water", "places where waterfowl would land",
        "natural reservoirs of water", "where could one sail a small boat?",
        "what could be drawn on for drinking water in a drought?",
        "areas that may freeze over in winter and carry skaters", "where would an angler go?",
        "*where could water be pumped for irrigation?", "*habitat for ducks and fish",
    ),
    "ripe_field": (
        "fields ready for harvest", "where should the combine harvester go now?",
        "crops that have turned golden", "land with grain that can be cut this week",
        "plots that should be harvested soon", "where are cereals mature?",
        "crops at the end of their growing season", "farmland that has turned yellow",
        "where will straw be left soon?", "plots where the grain is dry enough to collect",
        "*where is the crop mature enough to reap?", "*land a harvester should visit first",
    ),
    "green_field": (
        "crops that are still growing", "farmland not yet ready for harvest",
        "plots that still need water and fertiliser", "where are young plants growing in rows?",
        "cultivated land with living green plants", "vegetation planted by farmers that is still green",
        "where should irrigation continue?", "crops in the middle of their growing season",
        "plots with a high vegetation index", "where would spraying against weeds still help?",
        "*farmland whose plants are still immature", "*where are crops being grown but not yet ripe?",
    ),
    "runway": (
        "where could a plane land?", "long paved strips for take-off", "where do aircraft touch down?",
        "places where an aeroplane gathers speed before flying", "where could relief supplies be flown in?",
        "a strip that pilots line up with", "what must be kept clear of birds for flight safety?",
        "where could a small jet make an emergency landing?", "pavement with threshold markings for aviation",
        "where do flights begin and end?", "*where can aircraft take off?", "*the surface a pilot aims for",
    ),
    "pool": (
        "where do people swim at home?", "places to cool off in a private garden",
        "small basins of chlorinated water", "where could children drown in a backyard?",
        "what would a homeowner heat for bathing in summer?", "bright blue basins beside houses",
        "places that need chlorine and a filter pump", "where might mosquitoes breed in neglected gardens?",
        "private water for recreation", "what do wealthy households have in the garden for swimming?",
        "*where could someone take a swim near a house?", "*garden features filled with clear blue water",
    ),
    "greenhouse": (
        "structures for growing vegetables under cover", "where are plants grown under glass?",
        "where do tomatoes grow in winter?", "places where crops are protected from frost",
        "covered cultivation", "where is the climate controlled for plants?",
        "structures with transparent roofs for plants", "where would seedlings be raised before spring?",
        "where are flowers grown all year round?", "plastic-covered structures used in horticulture",
        "*where could vegetables be grown in cold weather?", "*shelters that let light in for plants",
    ),
    "solar_array": (
        "places producing electricity from sunlight", "where is renewable energy generated?",
        "what turns light into power?", "installations that stop working at night",
        "equipment that should not be shaded", "where is electricity made without burning fuel?",
        "clean energy infrastructure", "dark panels that feed the grid",
        "what would hail damage at a power plant?", "where does sunlight become current?",
        "*equipment that harvests the sun's energy", "*where is power produced on a bright day?",
    ),
}  # fmt: skip

_NEVER: tuple[str, ...] = (
    "ships", "boats in a harbour", "wind turbines", "a stadium", "airplanes", "parked aircraft",
    "helicopters", "bridges", "castles", "railway tracks", "trains", "train stations", "tennis courts",
    "basketball courts", "baseball diamonds", "football pitches", "golf courses", "volcanoes", "glaciers",
    "icebergs", "waterfalls", "dams", "lighthouses", "churches with a tower", "mosques", "cemeteries",
    "roundabouts", "cooling towers", "chimneys", "open-pit mines", "quarries", "shipping containers",
    "cranes", "power pylons", "radio telescopes", "satellite dishes", "pyramids", "roller coasters",
    "ferris wheels", "racing tracks", "ski lifts", "coral reefs", "rice terraces on slopes", "mangroves",
    "sea cliffs", "lagoons with corals", "oil platforms", "aircraft carriers", "submarines",
    "tents of a refugee camp", "caravans", "playgrounds", "fountains", "statues",
    "where do ships unload their cargo?", "what turns wind into electricity?",
    "where do crowds watch football?", "places where trains stop", "where could one cross a river by car?",
    "where do skiers go up a slope?", "what guides ships at night?", "where is ore dug out of the ground?",
    "places where tennis is played", "where are the dead buried?", "where does lava come out?",
    "where would surfers wait for waves?", "structures that carry high-voltage lines",
    "where do medieval walls still stand?", "where does a river fall over a cliff?",
    "places where golfers play", "*cruise ships", "*wind farms", "*sports stadiums", "*suspension bridges",
    "*railway yards", "*parked airliners", "*ancient ruins", "*ferries", "*gas flares",
    "*where can a container ship dock?", "*where do windmills turn?",
    "*where is a match played before spectators?", "*which structure carries a railway over water?",
    "*where could one ride a roller coaster?",
)  # fmt: skip


def _parse(wordings: tuple[str, ...], class_name: str, kind: QueryKind) -> list[Query]:
    return [
        Query(query=w.removeprefix("*"), class_name=class_name, kind=kind, held_out=w.startswith("*"))
        for w in wordings
    ]


def queries_of(class_name: str) -> tuple[Query, ...]:
    """List every wording about one class, explicit ones first. Raises KeyError for an unknown class."""
    explicit = _parse(_EXPLICIT[class_name], class_name, QueryKind.EXPLICIT)
    return (*explicit, *_parse(_IMPLICIT[class_name], class_name, QueryKind.IMPLICIT))


NEVER: tuple[Query, ...] = tuple(_parse(_NEVER, "", QueryKind.ABSENT))
"""Queries about things that no world holds."""

QUERIES: tuple[Query, ...] = (*(q for name in CLASSES for q in queries_of(name)), *NEVER)
"""Every query, by class in CLASSES order, then NEVER.

In a world that leaves a class out, nothing answers the queries of that class either.
"""

TRAIN_QUERIES: tuple[Query, ...] = tuple(q for q in QUERIES if not q.held_out)
HELD_OUT: tuple[Query, ...] = tuple(q for q in QUERIES if q.held_out)
