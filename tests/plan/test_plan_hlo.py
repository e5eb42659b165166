"""Collectives of a compiled program, from text as libtpu 0.0.42 writes it."""

from seal_jax.plan.hlo import Moved, moved

TEXT = """\
HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%add.clone (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[]{:T(512)} parameter(0)
  ROOT %add.1 = bf16[]{:T(512)} add(%x, %x)
}

%body.1 (p.1: (s32[], bf16[16,1,64,3584])) -> (s32[], bf16[16,1,64,3584]) {
  %p.1 = (s32[]{:T(128)}, bf16[16,1,64,3584]{3,2,0,1:T(8,128)(2,1)S(1)}) parameter(0)
  %all-reduce.61 = bf16[16,1,64,3584]{3,2,0,1:T(8,128)(2,1)S(1)} all-reduce(%p.1), channel_id=1, to_apply=%add.clone
  ROOT %t.1 = (s32[], bf16[16,1,64,3584]) tuple(%p.1, %all-reduce.61)
}

%cond.1 (p.2: (s32[], bf16[16,1,64,3584])) -> pred[] {
  %constant.873 = s32[]{:T(128)} constant(28)
  %p.2 = (s32[]{:T(128)}, bf16[16,1,64,3584]{3,2,0,1:T(8,128)(2,1)S(1)}) parameter(0)
  %get-tuple-element.4179 = s32[]{:T(128)} get-tuple-element(%p.2), index=0
  ROOT %lt.202 = pred[]{:T(512)} compare(%get-tuple-element.4179, %constant.873), direction=LT, metadata={op_name="x"}
}

%cond.2 (p.3: (s32[], pred[4])) -> pred[] {
  %constant.9 = s32[]{:T(128)} constant(64)
  %p.3 = (s32[]{:T(128)}, pred[4]{0:T(256)}) parameter(0)
  %g.1 = s32[]{:T(128)} get-tuple-element(%p.3), index=0
  %g.2 = pred[4]{0:T(256)} get-tuple-element(%p.3), index=1
  %r.1 = pred[]{:T(512)} reduce(%g.2), dimensions={0}, to_apply=%add.clone
  %lt.3 = pred[]{:T(512)} compare(%g.1, %constant.9), direction=LT
  ROOT %and.1 = pred[]{:T(512)} and(%lt.3, %r.1)
}

%body.2 (p.4: (s32[], pred[4])) -> (s32[], pred[4]) {
  %p.4 = (s32[], pred[4]) parameter(0)
  %ag = (bf16[4,8]{1,0:T(8,128)(2,1)}, bf16[16,8]{1,0:T(8,128)(2,1)}) all-gather-start(%p.4), channel_id=3
  %ag-done = bf16[16,8]{1,0:T(8,128)(2,1)} all-gather-done(%ag)
  ROOT %t.2 = (s32[], pred[4]) tuple(%p.4, %ag-done)
}

%branch.1 (p.5: f32[8]) -> f32[8] {
  ROOT %p.5 = f32[8]{0:T(128)} parameter(0)
}

%branch.2 (p.6: f32[8]) -> f32[8] {
  %p.6 = f32[8]{0:T(128)} parameter(0)
  %w.3 = (s32[], bf16[16,1,64,3584]) while(%p.6), condition=%cond.1, body=%body.1, metadata={op_name="a/while"}
  ROOT %all-reduce.7 = (f32[8]{0:T(128)}, f32[2]{0:T(128)}) all-reduce(%p.6, %p.6), channel_id=9, to_apply=%add.clone
}

ENTRY %main.3_spmd (param: f32[8]) -> f32[8] {
  %param = f32[8]{0:T(128)} parameter(0)
  %c.1 = f32[8]{0:T(128)} conditional(%param, %param, %param), branch_computations={%branch.1, %branch.2}
  %w.4 = (s32[], pred[4]) while(%param), condition=%cond.2, body=%body.2, metadata={op_name="b/while"}
  ROOT %r.9 = f32[8]{0:T(128)} add(%param, %param)
}
"""
LAYER = 16 * 64 * 3584 * 2  # bytes of one all-reduced activation


def test_loops_and_branches_count_as_they_run():
    found = moved(TEXT, branch_shares=(0.75, 0.25), trips=63)
    assert found == {
        "all-reduce": Moved(2, 0.25 * (28 + 1), 0.25 * (28 * LAYER + 40)),
        "all-gather": Moved(1, 63, 63 * 16 * 8 * 2),
    }


def test_branches_without_shares_count_fully():
    assert moved(TEXT)["all-reduce"] == Moved(2, 29, 28 * LAYER + 40)
    assert moved(TEXT)["all-gather"].executed == 1


def test_a_program_without_any():
    assert moved("ENTRY %main (p: f32[]) -> f32[] {\n  ROOT %p = f32[] parameter(0)\n}\n") == {}
