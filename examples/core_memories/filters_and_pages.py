"""Select memories by tags, metadata, dates and sessions; walk through them page by page."""

import tempfile

from memos import MOS


def main() -> None:
    with tempfile.TemporaryDirectory() as home, MOS.simple(home) as mos:
        mos.add("Rent: 940 a month.", tags=["home"], info={"cost": 940, "due": "2026-06-01"})
        mos.add("Internet: 35 a month.", tags=["home"], info={"cost": 35, "due": "2026-06-12"})
        mos.add("Gym: 29 a month.", tags=["sport", "health"], info={"cost": 29})
        mos.add("Bring the bike to the shop.", tags=["sport"], info={"shop": {"city": "Bristol"}})

        def texts(where: object) -> list[str]:
            return [memory.text for memory in mos.get_all(where=where).items]

        print(texts({"tags": {"contains": "health"}}))  # ['Gym: 29 a month.']
        print(texts({"info.cost": {"gte": 30, "lt": 100}}))  # ['Internet: 35 a month.']
        print(texts({"due": {"lt": "2026-06-10"}}))  # ['Rent: 940 a month.']
        print(texts({"shop.city": "Bristol"}))  # ['Bring the bike to the shop.']
        print(texts({"not": {"cost": {"exists": True}}}))  # ['Bring the bike to the shop.']
        print(len(texts({"or": [{"tags": "home"}, {"cost": {"lt": 30}}]})))  # 3
        print(len(texts({"created_at": {"gte": "2026-01-01"}})))  # 4

        # Filters hold inside a search, before anything is ranked: no hit is lost to a limit.
        result = mos.search("What do I pay every month?", where={"tags": "sport"}, limit=1)
        print(result.hits[0].memory.text)  # Gym: 29 a month.

        pages, cursor = 0, None
        while pages == 0 or cursor is not None:
            more = {} if cursor is None else {"cursor": cursor}
            page = mos.get_all(limit=3, **more)
            pages, cursor = pages + 1, page.next
        print(pages)  # 2


if __name__ == "__main__":
    main()
