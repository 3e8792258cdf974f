"""What every node tells its user, and what the host needs to be told."""

import inspect

import pytest

NUMBERS = ("INT", "FLOAT")


@pytest.fixture(scope="module")
def classes(host):
    return host.pack("nodes").NODES


def test_every_node_is_registered_under_its_own_prefix(host, classes):
    for cls in classes:
        schema = cls.define_schema()
        assert schema.node_id.startswith("PureSVD")
        assert host.node(schema.node_id).define_schema().node_id == schema.node_id
        assert schema.category.startswith("video/svd")


def test_execute_takes_exactly_the_inputs_of_the_schema(classes):
    for cls in classes:
        wanted = [entry.id for entry in cls.define_schema().inputs]
        assert list(inspect.signature(cls.execute).parameters) == wanted, cls


def test_fingerprint_takes_exactly_the_inputs_of_the_schema(classes):
    for cls in classes:
        if "fingerprint_inputs" in vars(cls):
            wanted = [entry.id for entry in cls.define_schema().inputs]
            assert list(inspect.signature(cls.fingerprint_inputs).parameters) == wanted, cls


def test_every_node_and_input_is_described(classes):
    for cls in classes:
        schema = cls.define_schema()
        assert schema.description, cls
        assert schema.display_name, cls
        for entry in schema.inputs:
            assert entry.tooltip, f"{schema.node_id}.{entry.id}"


def test_every_number_has_bounds_that_hold_its_default(classes):
    for cls in classes:
        for entry in cls.define_schema().inputs:
            if entry.io_type in NUMBERS:
                assert entry.min <= entry.default <= entry.max, f"{cls}.{entry.id}"
