"""The outside of export.pdb (DeviceSQL): pages of one size, tables as chains of pages, rows found through an index at each page's end.

    page 0    0 · page size · tables · next unused page · … │ kind · empty candidate · first page · last page │ one such line a table …
    page n    0 · n · kind · next page · sequence · … · slots, rows, flags · …  (40 bytes)
              row │ row │ row →                                     free                         ← … slot 1 │ slot 0 │ present │ written

Numbers are little-endian. Slots count from the page's end in groups of 16: a group ends in two bits masks, and only a row whose bit in
``present`` is set exists; what the others point at is stale. Source: Deep Symmetry's "Database Exports" (djl-analysis) and the Kaitai
description beside it; slots and rows share three bytes as 13 and 11 bits, which its older editions read otherwise.

One page is in memory at a time. Not here: what a row means (``rows``), what a library is (``pdb``).
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import IO

from engine.music.rekordbox.problems import LibraryError, Problems

PAGE_HEADER_BYTES = 40
USUAL_PAGE_BYTES = 4096
MOST_BYTES = 2**28  # an export of 10,000 tracks has about 12 MB

_FILE_HEADER = struct.Struct("<7I")
_TABLE = struct.Struct("<4I")
_PAGE = struct.Struct("<7I")
_U16 = struct.Struct("<H")
_GROUP_SLOTS, _GROUP_BYTES = 16, 36
_NOT_ROWS = 0x40  # page flag: an index page
_MOST_ROWS_SAID = 0x7FF  # what 11 bits can say


@dataclass(frozen=True, slots=True)
class Table:
    first_page: int
    last_page: int


class Page:
    """A page's bytes. ``text_left``: rows' texts don't overlap, so all of a page's can't be longer than it; a page that says so multiplies
    a small file into a large memory."""

    __slots__ = ("data", "heap_end", "number", "text_left")

    def __init__(self, data: bytes, number: int, heap_end: int) -> None:
        self.data, self.number, self.heap_end = data, number, heap_end
        self.text_left = 2 * len(data)


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a row begins: ``base`` is a position in ``page.data``, of which the row's fixed part is known to lie in the heap."""

    page: Page
    base: int
    slot: int


class PageFile:
    """``file`` is open for reading, unbuffered or not, and ``size`` bytes long. LibraryError: this is no export.pdb."""

    def __init__(self, file: IO[bytes], size: int, problems: Problems) -> None:
        self._file, self._problems = file, problems
        header = self._at(0, _FILE_HEADER.size)
        if len(header) < _FILE_HEADER.size:
            raise LibraryError(
                "This export.pdb is empty or cut off at its very beginning: the export was interrupted. Export again in rekordbox, "
                "and eject the stick before you pull it."
            )
        zero, page_bytes, tables, *_ = _FILE_HEADER.unpack(header)
        self.page_bytes = self._page_bytes(zero, page_bytes)
        self.page_count = min(size, MOST_BYTES) // self.page_bytes
        if size > MOST_BYTES:
            problems.add(f"export.pdb is larger than any real one: only its first {MOST_BYTES >> 20} MiB are read.")
        elif size % self.page_bytes:
            problems.add(f"export.pdb is cut off in the middle of page {self.page_count}: that page is left out.")
        self.tables = self._tables(tables)

    def rows(self, kind: int, name: str, row_bytes: int, most: int) -> Iterator[RowPlace]:
        """The rows of the table of that ``kind``, page by page, up to about ``most`` good and bad ones.

        ``name`` is for problems; ``row_bytes`` is the least that a row takes.
        """
        for page in self._chain(kind, name):
            most -= yield from self._rows_of(page, name, row_bytes)
            if most < 0:
                self._problems.add(f"{name}: more rows than any real export has. The table's other pages are left out.")
                return

    def _at(self, offset: int, length: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(length)
        except OSError as error:  # a worn stick: everything else may still be readable
            self._problems.add(f"The stick gave a read error at byte {offset:,} of export.pdb ({error.strerror}).")
            return b""

    def _page_bytes(self, zero: int, said: int) -> int:
        for page_bytes in dict.fromkeys((said, USUAL_PAGE_BYTES)):
            if not 512 <= page_bytes <= 65536 or page_bytes & (page_bytes - 1):
                continue
            if self._at(page_bytes, 8)[4:8] == b"\x01\0\0\0":  # the first page after it says that it is
                if page_bytes != said:
                    self._problems.add(f"export.pdb says pages of {said:,} bytes and has pages of {page_bytes:,}.")
                return page_bytes
        if said == USUAL_PAGE_BYTES and zero == 0:
            return said
        raise LibraryError(
            "This is not a rekordbox export.pdb, or its beginning is destroyed. Export to the stick again in rekordbox, "
            "or export the collection as XML and name that file."
        )

    def _tables(self, said: int) -> dict[int, Table]:
        most = (self.page_bytes - _FILE_HEADER.size) // _TABLE.size
        lines = self._at(_FILE_HEADER.size, min(said, most) * _TABLE.size)
        if said > most or len(lines) < said * _TABLE.size:
            self._problems.add("The list of tables is damaged: what it names is read.")
        tables: dict[int, Table] = {}
        for kind, _empty, first, last in _TABLE.iter_unpack(lines[: len(lines) // _TABLE.size * _TABLE.size]):
            tables.setdefault(kind, Table(first, last))
        return tables

    def _page(self, number: int) -> bytes | None:
        if not 0 < number < self.page_count:
            return None
        data = self._at(number * self.page_bytes, self.page_bytes)
        return data if len(data) == self.page_bytes else None

    def _chain(self, kind: int, name: str) -> Iterator[Page]:
        """Pages from first to last. Where the chain is broken, the rest of the table is found by what pages say of themselves."""
        seen = bytearray(self.page_count)
        table = self.tables.get(kind)
        if table is None:
            for page in self._loose(seen, kind, name):
                self._problems.add(f"{name}: missing in the list of tables. Its pages are read where they can be told.")
                yield page
            return
        number, before = table.first_page, 0
        while True:
            where = f"page {before} leads to page {number}" if before else f"it begins at page {number}"
            data = self._page(number)
            if data is None:
                broken = f"{where}, which the file does not have"
                break
            _, own_number, own_kind, following, _, _, packed = _PAGE.unpack_from(data)
            if own_kind != kind or own_number != number:
                broken = f"{where}, which belongs elsewhere"
                break
            if seen[number]:
                broken = f"{where} once more, in a circle"
                break
            seen[number] = 1
            yield from self._data_page(data, number, packed, name)
            if number == table.last_page:
                return
            number, before = following, number
        self._problems.add(f"{name}: {broken}. The table's other pages are read where they can be told.")
        yield from self._loose(seen, kind, name)

    def _loose(self, seen: bytearray, kind: int, name: str) -> Iterator[Page]:
        for number in range(1, self.page_count):
            if seen[number]:
                continue
            data = self._page(number)
            if data is None:
                continue
            _, own_number, own_kind, _, _, _, packed = _PAGE.unpack_from(data)
            if own_kind == kind and own_number == number:
                yield from self._data_page(data, number, packed, name)

    def _data_page(self, data: bytes, number: int, packed: int, name: str) -> Iterator[Page]:
        if packed >> 24 & _NOT_ROWS:
            return
        slots = packed & 0x1FFF
        heap_end = self._heap_end(slots)
        if heap_end < PAGE_HEADER_BYTES:
            self._problems.add(f"{name}, page {number}: it says {slots:,} rows, more than it has room for. Those that are there are read.")
        yield Page(data, number, heap_end)

    def _heap_end(self, slots: int) -> int:
        groups = -(-slots // _GROUP_SLOTS)
        return self.page_bytes - 2 * slots - 4 * groups

    def _rows_of(self, page: Page, name: str, row_bytes: int) -> Generator[RowPlace, None, int]:
        """Returns how many rows are marked, good or bad."""
        (packed,) = struct.unpack_from("<I", page.data, 24)
        slots, rows_said = packed & 0x1FFF, packed >> 13 & _MOST_ROWS_SAID
        counted = page.heap_end >= PAGE_HEADER_BYTES
        if not counted:  # the count is damaged: as many as fit, and no more than the other count says
            slots = (self.page_bytes - PAGE_HEADER_BYTES) // (row_bytes + 3)
            page.heap_end = self._heap_end(slots)
        taken: list[int] = []  # bases of the rows so far, sorted: rows don't overlap
        present = 0
        for slot in range(slots):
            if not counted and present >= rows_said:
                break
            group_end = self.page_bytes - slot // _GROUP_SLOTS * _GROUP_BYTES
            position = slot % _GROUP_SLOTS
            (mask,) = _U16.unpack_from(page.data, group_end - 4)
            if not mask >> position & 1:
                continue
            present += 1
            base = PAGE_HEADER_BYTES + _U16.unpack_from(page.data, group_end - 6 - 2 * position)[0]
            at = bisect_left(taken, base)
            overlaps = (at < len(taken) and taken[at] < base + row_bytes) or (at > 0 and base < taken[at - 1] + row_bytes)
            if overlaps or base + row_bytes > page.heap_end:
                where = "inside another row" if overlaps else "outside the page"
                self._problems.add(f"{name}, page {page.number}, row {slot}: it lies {where}. It is left out.")
                continue
            taken.insert(at, base)
            yield RowPlace(page, base, slot)
        if counted and present != rows_said and present <= _MOST_ROWS_SAID:
            what = f"it counts {rows_said:,} rows and marks {present:,}"
            self._problems.add(f"{name}, page {page.number}: {what}. The marked ones are read; some may be stale.")
        return present
