"""Where each point of the method's checklist, and each kind of bad input, is held: the tests are there and run.

Points are those of a reimplementation of Transformer-squared: (a) composed weights, outputs and gradients of the
released arithmetic; (b) equal scales are the base; (c) the size of z does not matter; (d) the sum of singular values
stays; (e) sum of z dL/dz is 0; (f) factored and dense apply agree; (g) published parameter counts; (h) a mixture of one
expert is that expert; (i) `others` is the base bit for bit; (j) CEM on a quadratic with a known optimum, the first
candidate the best before it, 6 elites of 32; (k) how answers are read; (l) the REINFORCE loss by hand, the KL's
direction a setting; (m) speed.
"""

import ast
import pathlib

import pytest

TESTS = pathlib.Path(__file__).parents[1]
GOLDEN, FORMS, FACTORS = (f"adapters/test_svf_{name}.py" for name in ("golden", "forms", "factors"))
UPDATE, TRAIN, LIBRARY = (f"transformer2/test_{name}.py" for name in ("update", "train", "expert_files"))

CHECKLIST = {
    "a": {
        GOLDEN: [
            "test_composed_weight_and_output_are_the_recorded_ones",
            "test_gradients_are_the_closed_form",
        ],
        "models/test_svf_parity.py": ["test_a_model_is_that_of_transformers_with_composed_weights"],
        UPDATE: ["test_gradient_is_the_closed_form_of_the_dense_one"],
    },
    "b": {FORMS: ["test_equal_scales_are_the_base_bit_for_bit"]},
    "c": {GOLDEN: ["test_scale_of_the_scale_vector_does_not_matter"]},
    "d": {GOLDEN: ["test_the_sum_of_singular_values_is_kept"]},
    "e": {GOLDEN: ["test_gradients_are_the_closed_form"]},
    "f": {
        FORMS: ["test_every_form_is_the_same_model_and_gradient"],
        "adapters/test_weights.py": ["test_dot_is_the_product_with_what_it_stands_for"],
    },
    "g": {
        GOLDEN: [
            "test_parameters_of_an_expert_are_the_published_counts",
            "test_parameters_of_lora_are_the_published_counts",
        ],
        FACTORS: ["test_factors_of_an_8b_model_take_as_much_as_is_published"],
    },
    "h": {
        "transformer2/test_mixing.py": ["test_golden_mixtures", "test_a_mixture_of_one_is_that_expert"],
        "transformer2/test_few_shot.py": ["test_a_population_at_once_is_each_candidate_alone"],
    },
    "i": {
        "transformer2/test_dispatch.py": ["test_each_problem_is_answered_by_its_expert"],
        "transformer2/test_serve.py": ["test_rows_without_an_expert_are_the_base_model_bit_for_bit"],
        FORMS: ["test_rows_without_an_expert_are_the_base_bit_for_bit"],
    },
    "j": {
        "transformer2/test_cem.py": [
            "test_the_defaults_are_the_releases",
            "test_each_generation_is_the_oracles",
            "test_the_optimum_of_a_quadratic_is_reached",
        ]
    },
    "k": {
        "evaluation/test_math_answers.py": ["test_the_last_number", "test_numbers_are_graded", "test_the_last_box"],
        "evaluation/test_choice_answers.py": ["test_the_letter_that_is_chosen"],
        "evaluation/test_code_answers.py": ["test_the_code_of_a_completion"],
        "transformer2/test_classify.py": ["test_the_label_is_in_the_last_box"],
    },
    "l": {
        UPDATE: ["test_two_tokens_by_hand", "test_loss_against_numpy"],
        "transformer2/test_kl.py": ["test_directions_differ"],
        "transformer2/test_reinforce.py": ["test_settings_that_cannot_be", "test_released_defaults"],
    },
    "m": {"benchmarks/test_svf_benchmark.py": ["test_svf_benchmark"]},
}

HELD = {
    "no dense weight gradient": {
        UPDATE: ["TestMemory.test_no_dense_gradient_is_kept", "TestMemory.test_all_weights_would_show"],
        FORMS: ["test_no_stack_of_dense_gradients_is_kept"],
    },
    "a vanishing denominator names the matrix": {FORMS: ["test_a_sum_that_vanishes_is_an_error_with_its_place"]},
    "truncation and the discarded energy": {
        FACTORS: [
            "test_factors_and_what_they_leave_out_are_the_kernel",
            "test_discarded_energy_is_by_matrix_and_layer",
        ],
        FORMS: ["test_truncated_factors_change_the_base_where_they_reach"],
    },
    "factors on a mesh": {
        FACTORS: [
            "test_factors_are_split_by_the_rules_and_are_those_of_one_device",
            "test_an_expert_on_a_mesh_is_that_of_one_device",
        ],
        "transformer2/test_update_on_a_mesh.py": ["test_one_update"],
    },
    "a tree that is no decoder": {FACTORS: ["test_an_expert_trains_in_another_tree"]},
}

BAD_INPUT = {
    "an expert for another model": {
        "transformer2/test_experts.py": ["test_another_base_is_refused_with_both_fingerprints"],
        LIBRARY: ["test_another_base"],
    },
    "a truncated file": {LIBRARY: ["test_every_cut_and_what_is_added_is_found", "test_every_changed_byte_is_found"]},
    "a task file without answers": {
        "data/test_benchmarks.py": ["test_a_wrong_row_is_named"],
        "cli/test_svf.py": ["test_bad_input_is_one_line"],
    },
    "an empty few-shot set": {
        "transformer2/test_few_shot.py": ["test_bad_input"],
        "transformer2/test_task_sets.py": ["test_shots_are_not_scored_on"],
    },
    "rewards that are all equal": {
        "transformer2/test_rewards.py": ["test_equal_rewards_are_exactly_nothing_under_a_baseline"],
        "transformer2/test_reinforce.py": ["test_equal_rewards_under_a_baseline_are_no_update"],
        TRAIN: ["test_a_model_that_never_answers_in_the_format_keeps_its_first_expert"],
    },
    "a model that never answers in the format": {
        "transformer2/test_classify.py": ["test_a_model_that_never_replies_in_the_format"],
        "transformer2/test_dispatch.py": ["test_a_model_that_never_names_a_label_is_the_base_model"],
        TRAIN: ["test_a_model_that_never_answers_in_the_format_keeps_its_first_expert"],
    },
}


def names(path):
    """The tests of a file, those of a class as Class.test, by name with the source of their decorators."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{f.name}": f for f in node.body if isinstance(f, ast.FunctionDef)}
    return {name: [ast.unparse(d) for d in node.decorator_list] for name, node in found.items()}


def test_every_letter_has_its_place():
    assert list(CHECKLIST) == list("abcdefghijklm")


@pytest.mark.parametrize(
    "places", [*CHECKLIST.values(), *HELD.values(), *BAD_INPUT.values()], ids=[*CHECKLIST, *HELD, *BAD_INPUT]
)
def test_what_holds_it_is_there_and_runs(places):
    for path, tests in places.items():
        there = names(TESTS / path)
        for name in tests:
            assert name in there, f"{path} has no {name}"
            assert not any("skip" in text or "xfail" in text for text in there[name])
