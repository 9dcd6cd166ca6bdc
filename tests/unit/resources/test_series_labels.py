"""Labels of providers and models: few, whatever callers make up."""

from __future__ import annotations

from orchestify.resources.series_labels import ModelLabels


def test_a_thousand_models_that_callers_make_up_have_two_hundred_labels() -> None:
    labels = ModelLabels()
    found = {labels.of("", "main", f"made-up-{number}") for number in range(1000)}
    assert len(found) == 201
    assert ("main", "other") in found


def test_a_label_once_given_stays() -> None:
    labels = ModelLabels()
    first = labels.of("", "main", "m")
    for number in range(1000):
        labels.of("", "main", f"made-up-{number}")
    assert first == labels.of("", "main", "m") == ("main", "m")


def test_what_the_configuration_names_has_its_label_after_a_thousand_others() -> None:
    labels = ModelLabels()
    for number in range(1000):
        labels.of("", "main", f"made-up-{number}")
    labels.name("", [("main", "gpt-4o")])
    assert labels.of("", "main", "gpt-4o") == ("main", "gpt-4o")


def test_a_tenants_models_take_no_place_of_anothers() -> None:
    labels = ModelLabels()
    for number in range(1000):
        labels.of("acme", "main", f"made-up-{number}")
    assert labels.of("globex", "main", "m") == ("main", "m")


def test_a_model_named_by_one_tenant_is_not_named_for_another() -> None:
    labels = ModelLabels()
    labels.name("acme", [("main", "m")])
    for number in range(1000):
        labels.of("globex", "main", f"made-up-{number}")
    assert labels.of("globex", "main", "m") == ("main", "other")


def test_a_long_name_has_no_label() -> None:
    assert ModelLabels().of("", "main", "m" * 101) == ("main", "other")


def test_a_tenant_that_renames_its_provider_a_thousand_times_has_two_hundred_labels() -> None:
    labels = ModelLabels()
    found = {labels.of("acme", f"provider-{number}", "m") for number in range(1000)}
    assert len(found) == 201
    assert ("other", "other") in found
