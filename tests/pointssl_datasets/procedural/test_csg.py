"""Random compositions: their points are on the surface that set algebra defines, evenly by area."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from pointssl_datasets.procedural.compositions import compose
from pointssl_datasets.procedural.csg import Body, Composition, Wire, sample, transformed
from pointssl_datasets.procedural.polyhedra import corners, polyhedron
from pointssl_datasets.procedural.randomness import Random
from pointssl_datasets.procedural.revolution import revolution_solids
from pointssl_datasets.procedural.wires import wire

KINDS = [*revolution_solids(), *corners()]
STEP = 1e-4  # how far from the surface the two sides are looked at


def generator(*seed):
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))


def random_steps(index):
    return compose(Random(generator(99, index)))


# The slow, obvious twin: each primitive by name, one inequality after the other.


def inside_kind(kind, q):
    """Whether points ``(N, 3)`` in a primitive's own frame are inside it."""
    r, y = np.hypot(q[:, 0], q[:, 2]), q[:, 1]
    flat = np.abs(y) < 1
    hollow = {"tube": 0.7, "pipe": 0.86, "washer": 0.4}
    bent = {"torus": (0.68, 0, 0.32), "ring": (0.84, 0, 0.16), "band": (0.84, 0.6, 0.16)}
    if kind in corners():
        return Delaunay(corners()[kind]).find_simplex(q) >= 0
    if kind in hollow:
        return flat & (r < 1) & (r > hollow[kind])
    if kind in bent or kind == "capsule":
        around, half, thick = bent.get(kind, (0, 0.5, 0.5))
        return np.hypot(r - around, y - np.clip(y, -half, half)) < thick
    t = (y + 1) / 2
    return {
        "cylinder": lambda: flat & (r < 1),
        "cone": lambda: flat & (r < 1 - t),
        "frustum": lambda: flat & (r < 1 - 0.5 * t),
        "stump": lambda: flat & (r < 1 - 0.2 * t),
        "spindle": lambda: r < 1 - np.abs(y),
        "crown": lambda: flat & (r > 0.6 + 0.2 * t) & (r < 1 - 0.2 * t),
        "sphere": lambda: r * r + y * y < 1,
        "dome": lambda: (y > -0.5) & (r * r + (y + 0.5) ** 2 < 1),
    }[kind]()


def inside_step(step, p):
    if isinstance(step, Body):
        return inside_kind(step.kind, np.linalg.solve(step.matrix, (p - step.at).T).T)
    found = np.zeros(len(p), dtype=bool)
    for i, j in step.edges:
        a, b = step.nodes[i], step.nodes[j]
        t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
        found |= np.linalg.norm(p - a - t[:, None] * (b - a), axis=1) < step.radius
    return found


def material(steps, p):
    """Whether points are inside the result: the steps in their order."""
    state = np.zeros(len(p), dtype=bool)
    for step in steps:
        state = state & ~inside_step(step, p) if step.cut else state | inside_step(step, p)
    return state


def crossings(steps, centre, radius, rng, lines=2500, along=300):
    """Where random lines through a ball enter or leave the result.

    By Crofton's formula, evenly distributed lines cross a surface evenly by area.
    """
    towards = rng.normal(size=(lines, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    across = np.cross(towards, rng.normal(size=(lines, 3)))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    away = radius * np.sqrt(rng.random((lines, 1)))  # even in the disk across the line
    t = np.linspace(-radius, radius, along)
    points = (centre + across * away)[:, None] + t[:, None] * towards[:, None]
    state = material(steps, points.reshape(-1, 3)).reshape(lines, along)
    line, place = np.nonzero(state[:, 1:] != state[:, :-1])
    return (points[line, place] + points[line, place + 1]) / 2


def shares(p, centre):
    """How the points are spread over the eight octants around ``centre``."""
    return np.bincount(((p > centre) @ [1, 2, 4]), minlength=8) / len(p)


def random_affine(rng):
    matrix = np.eye(3) + 0.5 * rng.uniform(-1, 1, (3, 3))
    return matrix @ np.diag(rng.uniform(0.4, 1.2, 3) * [rng.choice([-1, 1]), 1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_inside_a_primitive(kind):
    rng = generator(1)
    body = Body(kind, random_affine(rng), rng.normal(size=3))
    points = body.at + rng.uniform(-1.1, 1.1, (4000, 3)) @ body.matrix.T
    fast, slow = Composition([body]).inside(points)[0], inside_step(body, points)
    np.testing.assert_array_equal(fast, slow)
    assert 0.02 < slow.mean() < 0.9


def test_what_is_inside_a_wire():
    rng = generator(2)
    for index in range(10):
        step = transformed(
            wire(Random(generator(3, index))), random_affine(rng), rng.normal(size=3)
        )
        around = step.nodes[rng.integers(len(step.nodes), size=1000)]
        points = around + rng.normal(size=(1000, 3)) * step.radius
        fast, slow = Composition([step]).inside(points)[0], inside_step(step, points)
        np.testing.assert_array_equal(fast, slow)
        assert 0.05 < slow.mean() < 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_primitive_is_sampled_evenly_by_area(kind):
    rng = generator(4, KINDS.index(kind))
    body = Body(kind, random_affine(rng), rng.normal(size=3))
    points, normals = sample([body], 20_000, rng)
    step = STEP * normals
    assert material([body], points - step).mean() > 0.999
    assert not material([body], points + step).any()
    centre, far = points.mean(axis=0), np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    crossed = crossings([body], centre, far, rng)
    assert len(crossed) > 300
    tolerance = 4 * np.sqrt(shares(crossed, centre) / len(crossed)) + 0.015
    assert (np.abs(shares(points, centre) - shares(crossed, centre)) < tolerance).all()


def test_areas_are_those_of_the_textbook():
    def area(kind, scale):
        return Composition([Body(kind, np.diag(scale), np.zeros(3))]).cumulative[-1]

    assert area("sphere", [2.0, 2, 2]) == pytest.approx(16 * np.pi, rel=2e-3)
    assert area("box", [1.0, 2, 3]) == pytest.approx(8 * (2 + 3 + 6))
    assert area("cylinder", [1.0, 2, 1]) == pytest.approx(2 * np.pi * (4 + 1))
    assert area("cone", [1.0, 1, 1]) == pytest.approx(np.pi * (1 + np.sqrt(5)))
    assert area("torus", [1.0, 1, 1]) == pytest.approx(4 * np.pi**2 * 0.68 * 0.32)
    assert area("capsule", [1.0, 1, 1]) == pytest.approx(2 * np.pi, rel=2e-3)
    a, b = 1.0, 2.0  # an ellipsoid stretched along its axis
    e = np.sqrt(1 - (a / b) ** 2)
    spheroid = 2 * np.pi * a * a * (1 + b / (a * e) * np.arcsin(e))
    assert area("sphere", [1.0, 2, 1]) == pytest.approx(spheroid, rel=5e-3)


@pytest.mark.parametrize("kind", list(corners()))
def test_polyhedra_obey_euler(kind):
    solid = polyhedron(kind)
    assert len(solid.corners) - len(solid.edges) + len(solid.planes) == 2
    volume = np.linalg.det(solid.corners[solid.triangles]).sum() / 6
    assert volume > 0.1  # the triangles' sense is counter-clockwise seen from outside
    hull = Delaunay(solid.corners)
    tetrahedra = solid.corners[hull.simplices]
    edges = tetrahedra[:, 1:] - tetrahedra[:, :1]
    assert volume == pytest.approx(np.abs(np.linalg.det(edges)).sum() / 6)


def test_the_sample_lies_between_material_and_emptiness():
    """The definition of the surface, for whole compositions."""
    wrong = []
    for index in range(40):
        steps = random_steps(index)
        sampled = sample(steps, 400, generator(5, index))
        if sampled is None:
            continue
        points, normals = sampled
        scale = STEP * np.abs(points).max()
        within = material(steps, points - scale * normals)
        without = ~material(steps, points + scale * normals)
        wrong.append(1 - (within & without).mean())  # next to a crease a step may leave the solid
    assert len(wrong) > 36
    assert np.mean(wrong) < 0.002
    assert max(wrong) < 0.02


def test_whole_compositions_are_even_by_area():
    for index in range(8):
        steps = random_steps(index)
        points, _ = sample(steps, 20_000, generator(6, index))
        centre = (points.max(axis=0) + points.min(axis=0)) / 2
        far = np.linalg.norm(points - centre, axis=1).max()
        crossed = crossings(steps, centre, far, generator(7, index), lines=1500, along=300)
        # Rods thinner than a step of the line are sometimes stepped over.
        tolerance = 4 * np.sqrt(shares(crossed, centre) / len(crossed)) + 0.03
        assert (np.abs(shares(points, centre) - shares(crossed, centre)) < tolerance).all(), index


def test_visibility_agrees_with_one_decision_at_a_time():
    for index in range(20):
        steps = random_steps(index)
        shape = Composition(steps)
        points, _, owner = shape.draw(300, generator(8, index))
        fast = shape.visible(points, owner)
        table = np.stack([inside_step(step, points) for step in steps])
        for i, mine in enumerate(owner.tolist()):
            if isinstance(steps[mine], Wire):
                continue  # its rods cover one another: seen by the tests of the surface
            state = False
            for number in range(mine):
                if table[number, i]:
                    state = not steps[number].cut
            expected = state == steps[mine].cut and not table[mine + 1 :, i].any()
            assert fast[i] == expected


def test_cut_outs_hold_no_points_and_their_walls_do():
    plate = Body("box", np.diag([1.0, 0.2, 1.0]), np.zeros(3))
    hole = Body("cylinder", np.diag([0.5, 1.0, 0.5]), np.zeros(3), cut=True)
    points, normals = sample([plate, hole], 20_000, generator(9))
    r = np.hypot(points[:, 0], points[:, 2])
    assert r.min() > 0.5 - 1e-9
    wall = r < 0.5 + 1e-9
    area = 2 * np.pi * 0.5 * 0.4  # of the wall; then of the lids without the hole, and the rim
    assert wall.mean() == pytest.approx(area / (area + 2 * (4 - np.pi / 4) + 4 * 2 * 0.4), abs=0.01)
    inwards = (normals[wall] * points[wall]).sum(axis=1)
    assert (inwards < 0).all()
    assert sample([hole, plate], 10, generator(9)) is not None  # cut before there was anything
    gone = Body("box", np.diag([2.0, 2.0, 2.0]), np.zeros(3), cut=True)
    assert sample([plate, gone], 10, generator(9)) is None


def test_mirrored_bodies_keep_their_normals_outside():
    for kind in ("cone", "wedge"):
        body = transformed(Body(kind, np.eye(3), np.ones(3)), np.diag([-1.0, 1, 1]), np.zeros(3))
        points, normals = sample([body], 500, generator(10))
        centre = body.at - body.matrix @ [0, 0.4, 0]
        assert ((points - centre) * normals).sum(axis=1).min() > 0


def test_the_set_is_varied():
    """Holes, wires, many and few steps: what a careless edit of the grammar would lose."""
    kinds, sizes, wires, walls = set(), [], 0, 0
    for index in range(300):
        steps = random_steps(index)
        sizes.append(len(steps))
        kinds |= {step.kind for step in steps if isinstance(step, Body)}
        wires += any(isinstance(step, Wire) for step in steps)
        shape = Composition(steps)
        points, _, owner = shape.draw(500, generator(11, index))
        seen = owner[shape.visible(points, owner)]
        walls += len(seen) > 0 and shape.cut[seen].mean() > 0.05
    assert kinds == set(KINDS)
    assert min(sizes) == 1
    assert 18 <= max(sizes) <= 40
    assert wires > 25
    assert walls > 100
