from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.subscriptions.filters import filter_errors, first_mismatch, matches

ARTIFACTS = [
    {"kind": "image", "url": "https://cdn.example/a.png", "width": 512},
    {"kind": "video", "url": "https://cdn.example/b.mp4", "width": 1920},
]
DOCUMENT: dict[str, Any] = {
    "type": "job.progress",
    "provider": "runware",
    "operation": None,
    "tags": ["night", "draft"],
    "metadata": {"shot": 7, "final": True, "a.b": {"c": 1}, "a": {"d": 2}, "none": None, "": "x"},
    "data": {
        "progress": {"ratio": 0.5, "text": "half"},
        "output": {"artifacts": ARTIFACTS, "sizes": [1, 10]},
        "created_at": "2025-05-01T10:00:00Z",
        "error": None,
        "input": {},
    },
}


@pytest.mark.parametrize(
    ("pattern", "passed"),
    [
        ({}, True),
        ({"provider": "runware"}, True),
        ({"provider": "useapi"}, False),
        ({"provider": "runware", "type": "job.progress"}, True),
        ({"provider": "runware", "type": "job.failed"}, False),
        ({"operation": None}, True),
        ({"provider": None}, False),
        ({"data": {"progress": {"ratio": 0.5, "text": "half"}}}, True),
        ({"data": {"progress": {"ratio": 0.5, "text": "full"}}}, False),
        ({"metadata": {"shot": 7.0}}, True),
        ({"metadata": {"shot": "7"}}, False),
        ({"metadata": {"final": True}}, True),
        ({"metadata": {"final": 1}}, False),
        ({"metadata": {"": "x"}}, True),
        ({"data": {"output": {"sizes": [1, 10.0]}}}, True),
        ({"data": {"output": {"sizes": [True, 10]}}}, False),
    ],
)
def test_an_exact_value_is_compared_as_json(pattern: dict[str, Any], *, passed: bool) -> None:
    assert matches(pattern, DOCUMENT) is passed


@pytest.mark.parametrize(
    ("test", "value", "passed"),
    [
        ({"$in": ["a", None]}, "a", True),
        ({"$in": ["a", None]}, None, True),
        ({"$in": ["a"]}, "b", False),
        ({"$in": []}, "a", False),
        ({"$in": [1]}, 1.0, True),
        ({"$in": [1]}, True, False),
        ({"$in": [{"a": [1]}]}, {"a": [1.0]}, True),
        ({"$in": [{"a": 1}]}, {"a": 1, "b": 2}, False),
        ({"$in": [{}]}, {}, True),
        ({"$nin": ["a"]}, "b", True),
        ({"$nin": ["a"]}, "a", False),
        ({"$nin": []}, "a", True),
        ({"$gt": 1}, 1, False),
        ({"$gt": 1}, 1.5, True),
        ({"$gte": 1}, 1, True),
        ({"$gte": 1}, 0, False),
        ({"$lt": 1}, 1, False),
        ({"$lt": 1}, -1, True),
        ({"$lte": 1}, 1, True),
        ({"$lte": 1}, 2, False),
        ({"$gte": 1, "$lt": 2}, 1.5, True),
        ({"$gte": 1, "$lt": 2}, 2, False),
        ({"$gte": 1}, True, False),
        ({"$gte": 1}, "2", False),
        ({"$gte": "1"}, 2, False),
        ({"$gte": 1}, None, False),
        ({"$gte": "2025-05-01T00:00:00Z"}, "2025-05-01T10:00:00Z", True),
        ({"$lt": "2025-05-01T00:00:00Z"}, "2025-05-01T10:00:00Z", False),
        ({"$prefix": "job."}, "job.failed", True),
        ({"$prefix": "job."}, "jobs", False),
        ({"$prefix": ""}, "", True),
        ({"$prefix": "1"}, 12, False),
        ({"$exists": True}, None, True),
        ({"$exists": False}, None, False),
        ({"$not": "a"}, "b", True),
        ({"$not": "a"}, "a", False),
        ({"$not": {"$gte": 1}}, 0, True),
        ({"$not": {"$gte": 1}}, "text", True),
        ({"$not": {"x": 1}}, {"x": 2}, True),
        ({"$not": {"x": 1}}, {"x": 1}, False),
        ({"$or": [None, {"$lt": 1}]}, None, True),
        ({"$or": [None, {"$lt": 1}]}, 0, True),
        ({"$or": [None, {"$lt": 1}]}, 2, False),
        ({"x": 1, "$not": {"y": 2}}, {"x": 1, "y": 2}, False),
    ],
)
def test_each_operator_passes_or_fails_a_value(
    test: object, value: object, *, passed: bool
) -> None:
    assert matches({"metadata": {"v": test}}, {"metadata": {"v": value}}) is passed


@pytest.mark.parametrize(
    ("test", "passed"),
    [
        ("a", True),
        ("c", False),
        (["a", "b", 3], True),
        (["b", "a", 3], False),
        (["a"], False),
        ({"$in": ["c", "b"]}, True),
        ({"$in": [["a", "b", 3]]}, True),
        ({"$nin": ["c", "b"]}, False),
        ({"$nin": ["c"]}, True),
        ({"$not": "a"}, False),
        ({"$not": "c"}, True),
        ({"$in": ["a"], "$nin": ["b"]}, False),
        ({"$prefix": "b"}, True),
        ({"$prefix": "c"}, False),
        ({"$gt": 2}, True),
        ({"$gt": 3}, False),
        ({"$not": {"$prefix": "b"}}, False),
        ({"$or": ["c", {"$gt": 2}]}, True),
        ({"$exists": True}, True),
    ],
)
def test_an_array_passes_as_a_whole_or_by_one_element(test: object, *, passed: bool) -> None:
    assert matches({"tags": test}, {"tags": ["a", "b", 3]}) is passed
    assert matches({"tags": test}, {"tags": ("a", "b", 3)}) is passed


@pytest.mark.parametrize(
    ("test", "passed"),
    [
        ({"kind": "video"}, True),
        ({"kind": "video", "width": {"$gt": 1000}}, True),
        ({"kind": "image", "width": {"$gt": 1000}}, False),
        ({"kind": {"$not": "video"}}, True),
        ({"$not": {"kind": "video"}}, False),
        ({"$not": {"kind": "audio"}}, True),
        ({"$or": [{"kind": "audio"}, {"width": 512}]}, True),
        ({"kind": "video", "$not": {"kind": "image"}}, False),
        ({"height": {"$exists": False}}, True),
    ],
)
def test_all_field_names_must_match_in_one_object_of_an_array(
    test: object, *, passed: bool
) -> None:
    assert matches({"data": {"output": {"artifacts": test}}}, DOCUMENT) is passed


@pytest.mark.parametrize("array", [[], [1, "a"], [[{"kind": "video"}]]])
def test_an_array_without_objects_matches_no_field_name(array: list[object]) -> None:
    assert not matches({"data": {"kind": "video"}}, {"data": array})
    assert not matches({"data": {"kind": {"$exists": False}}}, {"data": array})


@pytest.mark.parametrize(
    ("pattern", "passed"),
    [
        ({"data.progress.ratio": {"$gte": 0.5}}, True),
        ({"data.progress.ratio.$gte": 0.6}, False),
        ({"data.progress": {"ratio": 0.5}}, True),
        ({"data": {"output.artifacts.kind": "video"}}, True),
        ({"data.output.artifacts.kind": "image", "data.output.artifacts.width": 1920}, True),
        ({"metadata.a.b.c": 1}, False),
        ({"metadata.a.b": {"c": 1}}, True),
        ({"metadata": {"a.b": {"c": 1}}}, True),
        ({"metadata.a.d": 2}, True),
        ({"metadata.": "x"}, True),
    ],
)
def test_a_dot_separates_field_names_unless_a_field_has_that_name(
    pattern: dict[str, Any], *, passed: bool
) -> None:
    assert filter_errors(pattern, "filter") == []
    assert matches(pattern, DOCUMENT) is passed


@pytest.mark.parametrize("path", ["metadata.gone", "data.error.code", "data.progress.text.x"])
@pytest.mark.parametrize(
    ("test", "passed"),
    [
        ({"$exists": False}, True),
        ({"$nin": [None, "a"]}, True),
        ({"$not": "a"}, True),
        ({"$not": {"x": 1}}, True),
        ({"x": {"$exists": False}}, True),
        ({"$or": ["a", {"$exists": False}]}, True),
        (None, False),
        ("a", False),
        ([], False),
        ({"$in": [None, "a"]}, False),
        ({"$lte": 1}, False),
        ({"$gte": ""}, False),
        ({"$prefix": ""}, False),
        ({"$exists": True}, False),
        ({"x": None}, False),
    ],
)
def test_a_missing_field_passes_only_negations(path: str, test: object, *, passed: bool) -> None:
    assert matches({path: test}, DOCUMENT) is passed


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"provider": "useapi"}, 'filter.provider: is "runware", which is not "useapi"'),
        (
            {"data.progress": {"ratio": {"$gte": 0.75}}},
            "filter.data.progress.ratio.$gte: is 0.5, which is not at least 0.75",
        ),
        (
            {"type": {"$prefix": "a."}},
            'filter.type.$prefix: is "job.progress", which is not a string that begins with "a."',
        ),
        ({"metadata.gone": None}, "filter.metadata.gone: is missing, which is not null"),
        (
            {"metadata.shot.$exists": False},
            "filter.metadata.shot.$exists: is 7, which fails $exists: false",
        ),
        ({"tags": "day"}, 'filter.tags: is ["night", "draft"], which has no element that is "day"'),
        (
            {"tags": {"$nin": ["draft"]}},
            'filter.tags.$nin: is ["night", "draft"], which is or contains one of ["draft"]',
        ),
        (
            {"operation": {"$not": None}},
            "filter.operation.$not: is null, which matches null",
        ),
        (
            {"provider": {"$or": ["useapi", {"$lt": "a"}]}},
            'filter.provider.$or: is "runware", which matches none of ["useapi", {"$lt": "a"}]',
        ),
        (
            {"data.output.sizes": {"x": 1}},
            'filter.data.output.sizes: is [1, 10], which contains no object that matches {"x": 1}',
        ),
        (
            {"type": "job.progress", "operation": "a", "provider": "b"},
            'filter.operation: is null, which is not "a"',
        ),
    ],
)
def test_the_first_test_that_fails_is_described(pattern: dict[str, Any], expected: str) -> None:
    assert first_mismatch(pattern, DOCUMENT) == expected


def test_a_match_has_no_description() -> None:
    assert first_mismatch({"provider": "runware", "tags": "night"}, DOCUMENT) is None


def test_long_values_are_shortened_in_the_description() -> None:
    description = first_mismatch({"provider": "a" * 100}, {"provider": ["é"] * 100}) or ""

    found, wanted = description.removeprefix("filter.provider: is ").split(
        ", which has no element that is "
    )
    assert found.startswith('["é", "é"')
    assert wanted == '"' + "a" * 58 + "…"
    assert len(found) == len(wanted) == 60


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ({"status": "failed"}, "filter.status", "allowed: data, metadata, operation"),
        ({"job.status": "failed"}, "filter.job.status", "unknown field 'job'"),
        ({"$or": [{}]}, "filter.$or[0]", "must be an object such as"),
        ({"$or": [{"type": "a"}, {"x": 1}]}, "filter.$or[1].x", "unknown field 'x'"),
        ({"$or": [{"type": "a"}, 5]}, "filter.$or[1]", "must be an object such as"),
        ({"$or": []}, "filter.$or", "at least one"),
        ({"$or": {"type": "a"}}, "filter.$or", "a list of at most 100"),
        ({"$not": "a"}, "filter.$not", "must be an object such as"),
        ({"$not": {}}, "filter.$not", "must be an object such as"),
        ({"$not": {"x": 1}}, "filter.$not.x", "unknown field 'x'"),
        ({"$gte": 1}, "filter.$gte", "must be inside a field"),
        ({"$exists": True}, "filter.$exists", "must be inside a field"),
        ({"$and": [{"type": "a"}]}, "filter.$and", "allowed: $in, $nin, $gt"),
        ({"type": {"$ne": "a"}}, "filter.type.$ne", "unknown operator"),
        ({"type": {"name": "a"}}, "filter.type.name", "the value is not an object"),
        ({"tags.x": "a"}, "filter.tags.x", "the value is not an object"),
        ({"type": {"$or": ["a", {"x": 1}]}}, "filter.type.$or[1].x", "the value is not an object"),
        ({"metadata": {}}, "filter.metadata", '{"$exists": true}'),
        ({"data": {"x": {"$not": {}}}}, "filter.data.x.$not", '{"$in": [{}]}'),
        ({"data.x": {"$gte": None}}, "filter.data.x.$gte", "must be a number or a string"),
        ({"data.x": {"$gt": True}}, "filter.data.x.$gt", "must be a number or a string"),
        ({"data.x.$lt": [1]}, "filter.data.x.$lt", "must be a number or a string"),
        ({"data": {"x": {"$lte": {}}}}, "filter.data.x.$lte", "must be a number or a string"),
        ({"type": {"$prefix": 1}}, "filter.type.$prefix", "must be a string"),
        ({"type": {"$in": "a"}}, "filter.type.$in", "must be a list of at most 100 entries"),
        ({"type": {"$nin": {"a": 1}}}, "filter.type.$nin", "must be a list of at most 100"),
        ({"type": {"$exists": 1}}, "filter.type.$exists", "must be true or false"),
        ({"data.x.$regex": "a"}, "filter.data.x.$regex", "unknown operator"),
    ],
)
def test_an_error_has_its_path_and_says_how_to_fix_it(
    pattern: dict[str, Any], path: str, expected: str
) -> None:
    (error,) = filter_errors(pattern, "filter")

    assert error.path == path
    assert expected in error.message


def test_all_errors_are_reported_together() -> None:
    pattern = {
        "status": 1,
        "type": {"$ne": 1, "$prefix": 2},
        "$or": [{"data": {"x": {"$in": 3}}}, {"data": {}}],
    }

    assert [error.path for error in filter_errors(pattern, "[2].filter")] == [
        *("[2].filter.status", "[2].filter.type.$ne", "[2].filter.type.$prefix"),
        *("[2].filter.$or[0].data.x.$in", "[2].filter.$or[1].data"),
    ]


def nested(levels: int) -> dict[str, Any]:
    pattern: dict[str, Any] = {"x": 1}
    for _ in range(levels - 2):
        pattern = {"x": pattern}
    return {"data": pattern}


TESTS = {f"k{n}": 1 for n in range(50)}


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        nested(8),
        {"data.1.2.3.4.5.6.7": 1},
        {"data": {"x": "a" * (4096 - len('{"data":{"x":""}}'))}},
        {"type": {"$in": ["a"] * 100, "$nin": [""] * 100}},
        {"$or": [{"type": "a"}] * 100},
        {"metadata": TESTS, "data": {"$not": TESTS}},
        {"metadata": {"any name": {"of mine": [{"$exact": {}}]}}},
    ],
)
def test_a_filter_within_the_limits_has_no_error(pattern: dict[str, Any]) -> None:
    assert filter_errors(pattern, "filter") == []


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (nested(9), "filter", "8 levels deep"),
        (nested(5000), "filter", "8 levels deep"),
        ({"data.1.2.3.4.5.6.7.8": 1}, "filter", "8 levels deep"),
        ({"data": {"x": {"$in": [[[[[[1]]]]]]}}}, "filter", "8 levels deep"),
        ({"data": {"x": "a" * 4096}}, "filter", "4096 bytes"),
        ({"type": {"$in": ["a"] * 101}}, "filter.type.$in", "100 entries"),
        ({"$or": [{"type": "a"}] * 101}, "filter.$or", "100 entries"),
        ({"metadata": TESTS, "$or": [{"data": TESTS}, {"tags": "a"}]}, "filter", "has 101"),
        ({"metadata": TESTS, "data.x.$or": [1] * 51}, "filter", "has 101"),
    ],
)
def test_a_filter_beyond_a_limit_is_refused(
    pattern: dict[str, Any], path: str, expected: str
) -> None:
    error = filter_errors(pattern, "filter")[0]

    assert error.path == path
    assert expected in error.message


def test_a_document_may_be_deeper_than_any_filter() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [{"x": deep}]
    document = {"data": {"x": deep}, "tags": deep}

    assert not matches({"data": {"x": [{"x": 1}]}}, document)
    assert not matches({"tags": {"$in": [[{"x": [{"x": [1]}]}]]}}, document)
    assert first_mismatch({"data.x.x.x": 1}, document)


SCALARS = st.none() | st.booleans() | st.sampled_from([0, 1, 1.0, 2.5, -(10**30), "", "a", "ab"])
NAMES = st.sampled_from(["a", "b", "a.b", "", "$in"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
ORDERED = st.sampled_from([0, 1, 2.5, "", "a"])
OPERATORS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["$in", "$nin"], st.lists(VALUES, max_size=3)),
        **dict.fromkeys(["$gt", "$gte", "$lt", "$lte"], ORDERED),
        "$prefix": st.sampled_from(["", "a"]),
        "$exists": st.booleans(),
    },
)


def patterns_of(inner: st.SearchStrategy[Any], names: list[str]) -> st.SearchStrategy[Any]:
    ors = st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)})
    nots = st.fixed_dictionaries({"$not": inner})
    return st.dictionaries(st.sampled_from(names), inner, max_size=3) | ors | nots


TEST = st.recursive(
    SCALARS | st.lists(VALUES, max_size=2) | OPERATORS,
    lambda inner: patterns_of(inner, ["a", "b", "a.b", "a.$not"]),
    max_leaves=6,
)
FIELD_NAMES = ["type", "tags", "metadata", "data", "data.a", "metadata.a.b"]
FILTERS = st.dictionaries(st.sampled_from(FIELD_NAMES), TEST, max_size=3)
DOCUMENTS = st.dictionaries(st.sampled_from(["type", "tags", "metadata", "data"]), VALUES)


@given(FILTERS, DOCUMENTS)
def test_matches_and_first_mismatch_agree_on_any_document(
    pattern: dict[str, Any], document: dict[str, Any]
) -> None:
    assert (first_mismatch(pattern, document) is None) is matches(pattern, document)


@given(FILTERS, DOCUMENTS)
def test_not_negates_a_filter(pattern: dict[str, Any], document: dict[str, Any]) -> None:
    assert matches({"$not": pattern}, document) is not matches(pattern, document)


@given(TEST, DOCUMENTS)
def test_not_negates_the_test_of_a_value(test: Any, document: dict[str, Any]) -> None:
    assert matches({"data": {"$not": test}}, document) is not matches({"data": test}, document)


@given(VALUES)
def test_a_value_equals_itself_and_is_in_a_list_of_itself(value: object) -> None:
    assert matches({"data": {"$in": [value]}}, {"data": value})
    assert not matches({"data": {"$nin": [value]}}, {"data": value})


@given(st.dictionaries(st.sampled_from([*FIELD_NAMES, "$or", "$not", "$in", "x"]), VALUES | TEST))
def test_a_filter_without_errors_can_be_applied_to_any_document(pattern: dict[str, Any]) -> None:
    if not filter_errors(pattern, "filter"):
        assert (first_mismatch(pattern, DOCUMENT) is None) is matches(pattern, DOCUMENT)
