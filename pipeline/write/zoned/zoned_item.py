"""item.json of a run of several zones: a STAC 1.1 Item of what was made of all, with links to the zones' own.

Geometry, times and scenes are those of all zones together (`stac_item`). Each zone's Item is linked as
`item`: its rasters and its block records are found there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pystac
import shapely

from pipeline.files.fingerprint import canonical
from pipeline.files.hrefs import link_href
from pipeline.files.public_text import public_json
from pipeline.files.store.store_path import StorePath
from pipeline.geo.globe import narrowest_bbox, polygonal
from pipeline.schema.imagery import Scene
from pipeline.write.run_dir import RunDir
from pipeline.write.run_document import write_unless_newer
from pipeline.write.run_json import finite
from pipeline.write.stac_item import EXTENSIONS, item_assets, item_times
from pipeline.write.zoned.zoned_json import ZonedInfo


def write_zoned_item(
    root: RunDir,
    info: ZonedInfo,
    *,
    footprints: Sequence[Mapping[str, object]],
    scenes: Sequence[Scene],
    seen: str,
) -> StorePath:
    """Write item.json when the other files are there. `footprints`: of the zones, GeoJSON in lon/lat."""
    shapes = [shapely.geometry.shape(footprint) for footprint in footprints]
    whole = polygonal(shapely.union_all(shapes)) if shapes else None
    item = pystac.Item(
        id=info.run_id,
        geometry=None if whole is None else dict(shapely.geometry.mapping(whole)),
        bbox=None if whole is None else list(narrowest_bbox(whole)),
        **item_times(scenes, info.started),
        properties={
            "title": "; ".join(info.queries),
            "processing:software": dict(info.versions),
            "processing:expression": {
                "format": "terraquery-config",
                "expression": canonical(info.parameters),
            },
            "proj:code": info.crs,
            "terraquery:queries": list(info.queries),
            "terraquery:counters": dict(info.counters),
            "terraquery:fingerprint": info.fingerprint,
            "terraquery:status": info.status,
            "terraquery:zones": [zone.crs for zone in info.zones],
        },
        stac_extensions=list(EXTENSIONS),
    )
    for key, asset in item_assets(root).items():
        item.add_asset(key, asset)
    for zone in info.zones:
        item.add_link(
            pystac.Link(
                rel="item",
                target=f"./{zone.path}/item.json",
                title=zone.crs,
                media_type="application/geo+json",
            )
        )
    for scene in scenes:
        item.add_link(pystac.Link(rel="derived_from", target=link_href(scene.href), title=scene.scene_id))
    document = finite(item.to_dict(include_self_link=False, transform_hrefs=False))
    text = public_json(document)
    return write_unless_newer(root.item, (text + "\n").encode(), seen)
