"""The page's modules that know neither DOM nor network, run where they will run: in the browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page


async def call(modules: Page, module: str, function: str, *arguments: Any) -> Any:
    script = "([module, name, args]) => import(`/js/${module}.js`).then((it) => it[name](...args))"
    return await modules.evaluate(script, [module, function, list(arguments)])


def flat(node: Any) -> Any:
    """A parsed tree in short: [type, children or text]."""
    if isinstance(node, list):
        return [flat(child) for child in node]
    if node["type"] == "text":
        return node["text"]
    if node["type"] == "list":
        return [node["type"], *[flat(item) for item in node["items"]]]
    inner = node.get("children")
    return [node["type"], *(flat(inner) if inner is not None else [node.get("text") or node.get("id") or node.get("url")])]


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("***both*** and *a **b***", [["paragraph", ["strong", ["em", "both"]], " and ", ["em", "a ", ["strong", "b"]]]]),
        ("snake_case_name, 2 * 3 * 4", [["paragraph", "snake_case_name, 2 * 3 * 4"]]),
        ("__u__ ~~s~~ ||h||", [["paragraph", ["underline", "u"], " ", ["strike", "s"], " ", ["spoiler", "h"]]]),
        (r"\*plain\* `a*b*` ``a`b``", [["paragraph", "*plain* ", ["code", "a*b*"], " ", ["code", "a`b"]]]),
        ("**open", [["paragraph", "**open"]]),
        ("# One\ntext\n> said", [["heading", "One"], ["paragraph", "text"], ["quote", ["paragraph", "said"]]]),
        (">>> all\nof it", [["quote", ["paragraph", "all\nof it"]]]),
        ("-# small", [["subtext", "small"]]),
        (
            "- a\n  - b\n- c",
            [["list", [["paragraph", "a"], ["list", [["paragraph", "b"]]]], [["paragraph", "c"]]]],
        ),
        ("see ```py\nx = 1\n``` there", [["paragraph", "see "], ["code_block", "x = 1"], ["paragraph", " there"]]),
        ("<@12> <#34> </crate add:56>", [["paragraph", ["user", "12"], " ", ["channel", "34"], " ", ["command", "56"]]]),
        ("[t](https://a.b/c_(d))", [["paragraph", ["link", "t"]]]),
        ("[t](javascript:alert(1))", [["paragraph", "[t](javascript:alert(1))"]]),
        ("https://a.b/c_(d).", [["paragraph", ["link", "https://a.b/c_(d)"], "."]]),
        ("<img src=x>", [["paragraph", "<img src=x>"]]),
    ],
)
async def test_markdown(modules: Page, text: str, tree: list[Any]) -> None:
    assert flat(await call(modules, "markdown", "parse", text)) == tree


async def test_markdown_of_ill_will_is_read_quickly(modules: Page) -> None:
    """Nothing in the parser takes more than quadratic time in a message of 4,000 characters."""
    texts = ["**_" * 1300, "[" * 4000, "`" * 3999, "> " * 2000, "a*b_" * 1000, "||" * 2000, "(https://a.b/(" * 280, "- " * 2000]
    script = """(texts) => import('/js/markdown.js').then(({parse}) => {
        const began = performance.now()
        texts.forEach(parse)
        return performance.now() - began
    })"""
    assert await modules.evaluate(script, texts) < 2000


COMMANDS: list[dict[str, Any]] = [
    {
        "id": "1", "type": 1, "name": "generate", "description": "Make a clip",
        "options": [
            {"type": 3, "name": "prompt", "required": True},
            {"type": 10, "name": "seconds", "min_value": 1, "max_value": 240},
            {"type": 3, "name": "style", "choices": [{"name": "Dub", "value": "dub"}]},
        ],
    },
    {
        "id": "2", "type": 1, "name": "crate",
        "options": [{"type": 1, "name": "add", "description": "Put tracks in"}, {"type": 1, "name": "list"}],
    },
    {"id": "3", "type": 3, "name": "Continue this track"},
]  # fmt: skip


async def leaves(modules: Page, function: str, *arguments: Any) -> Any:
    script = "([commands, name, args]) => import('/js/commands.js').then((it) => it[name](...args, it.flatten(commands)))"
    return await modules.evaluate(script, [COMMANDS, function, list(arguments)])


async def test_commands_are_flat_and_found(modules: Page) -> None:
    flat_commands = await call(modules, "commands", "flatten", COMMANDS)
    assert [leaf["label"] for leaf in flat_commands] == ["/crate add", "/crate list", "/generate"]
    assert flat_commands[0]["path"] == ["crate", "add"]
    for typed, expected in (("/", 3), ("/cr", 2), ("/add", 1), ("/clip", 1), ("/tracks", 1), ("/nothing", 0)):
        assert len(await call(modules, "commands", "search", flat_commands, typed)) == expected


@pytest.mark.parametrize(
    ("line", "path", "values"),
    [
        ("/generate prompt:deep dub techno seconds:8", ["generate"], {"prompt": "deep dub techno", "seconds": "8"}),
        ("/generate dark: the end seconds: 8", ["generate"], {"prompt": "dark: the end", "seconds": "8"}),
        ("/crate add ", ["crate", "add"], {}),
        ("/GENERATE", ["generate"], {}),
        ("/generate seconds:", ["generate"], {"seconds": ""}),
    ],
)
async def test_a_typed_line_is_read(modules: Page, line: str, path: list[str], values: dict[str, str]) -> None:
    read = await leaves(modules, "readLine", line)
    assert (read["leaf"]["path"], read["values"]) == (path, values)


async def test_a_line_that_names_no_command(modules: Page) -> None:
    assert await leaves(modules, "readLine", "/generated x") is None
    assert await leaves(modules, "readLine", "/crate") is None


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ({"type": 4, "name": "n", "min_value": 1, "max_value": 8}, "8", {"value": 8}),
        ({"type": 4, "name": "n", "min_value": 1, "max_value": 8}, "9", {"error": "n must be a whole number from 1 to 8."}),
        ({"type": 4, "name": "n"}, "1.5", {"error": "n must be a whole number."}),
        ({"type": 4, "name": "n"}, "many", {"error": "n must be a whole number."}),
        ({"type": 10, "name": "n", "min_value": 0}, "0,5", {"value": 0.5}),
        ({"type": 10, "name": "n", "min_value": 0}, "-1", {"error": "n must be a number, at least 0."}),
        ({"type": 3, "name": "s", "max_length": 3}, "abc", {"value": "abc"}),
        ({"type": 3, "name": "s", "max_length": 3}, "abcd", {"error": "s must be text, at most 3 characters; it has 4."}),
        ({"type": 3, "name": "s", "choices": [{"name": "Dub", "value": "d"}]}, "dub", {"value": "d"}),
        ({"type": 3, "name": "s", "choices": [{"name": "Dub", "value": "d"}]}, "acid", {"error": "s must be one of the list."}),
        ({"type": 5, "name": "b"}, "True", {"value": True}),
        ({"type": 5, "name": "b"}, "perhaps", {"error": "b must be true or false."}),
        ({"type": 6, "name": "u"}, "bob", {"error": "Pick a member from the list for u."}),
        ({"type": 3, "name": "s"}, "  ", {"empty": True}),
        ({"type": 11, "name": "f"}, "", {"empty": True}),
    ],
)
async def test_option_values_are_checked_as_discord_does(
    modules: Page, option: dict[str, Any], text: str, expected: dict[str, Any]
) -> None:
    assert await call(modules, "commands", "readValue", option, {"text": text}) == expected


async def test_csv(modules: Page) -> None:
    text = '\ufeffname,score\r\n"a ""quoted"", one",5\n\nb,\n'
    assert await call(modules, "csv", "parseCsv", text) == [["name", "score"], ['a "quoted", one', "5"], ["b", ""]]
    assert await call(modules, "csv", "parseCsv", "a\nb\nc", 2) == [["a"], ["b"]]


async def test_levels_of_a_waveform(modules: Page) -> None:
    script = """() => import('/js/waveform.js').then(({levelsOf, barsOf}) => {
        const levels = levelsOf([new Float32Array([0, 0, 0.5, -0.5]), new Float32Array(4)], 2)
        return [Array.from(levels), barsOf(levels, 2), Array.from(levelsOf([new Float32Array(8)], 4))]
    })"""
    levels, bars, silence = await modules.evaluate(script)
    assert levels == [0, 1]
    assert bars == [0, 1]
    assert silence == [0, 0, 0, 0]


async def test_times_in_words(modules: Page) -> None:
    assert await call(modules, "time", "minutes", 83.9) == "1:23"
    assert await call(modules, "time", "relative", 1000, 1_180_000) == "3 minutes ago"
    assert await call(modules, "time", "relative", 8200, 1_000_000) == "in 2 hours"
    assert await call(modules, "uploads", "fileSize", 1536) == "1.5 KB"
    assert await call(modules, "uploads", "fileSize", 50 * 2**20) == "50 MB"
