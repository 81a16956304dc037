"""The contract of every storage. Subclass it with a fixture `storage`, empty for each test."""

import errno
import gc
import threading

import numpy as np
import pytest

from tfpersist.errors import StorageError
from tfpersist.storage.base import unlinkable

NAMES = [
    "a b",
    "[1]*?",
    "zażółć-模型.ckpt",
    "model.ckpt-5.data-00000-of-00001",
    "x" * 200,
    "%41",
    "~",
]


def put(storage, *, durable=True, discards=(), **files):
    write(storage, files, durable=durable, discards=discards)


def write(storage, files, *, durable=True, discards=()):
    with storage.publish(durable=durable) as publication:
        for name, data in files.items():
            sink = publication.create(name)
            sink.reserve(len(data))
            sink.write(data)
        for name in discards:
            publication.discard(name)


def replace_if(storage, condition, **files):
    with storage.publish(only_if=lambda: condition) as publication:
        for name, data in files.items():
            publication.create(name).write(data)
    return publication.committed


def contents(storage):
    return {name: bytes(storage.read(name)) for name in storage.names()}


class StorageContract:
    def reopen(self, storage):
        """Open what `storage` is once more, as another part of a program would."""
        raise NotImplementedError

    def test_is_empty_before_anything_is_published(self, storage):
        assert storage.names() == frozenset()
        storage.remove(["nothing"])
        storage.recover()
        assert storage.names() == frozenset()

    def test_others_wait_while_one_is_alone(self, storage):
        put(storage, a=b"1")
        other = threading.Thread(target=lambda: put(self.reopen(storage), a=b"3"))
        with storage.alone():
            other.start()
            other.join(0.05)
            with storage.alone():
                put(storage, a=b"2")
            assert other.is_alive()
            assert contents(storage) == {"a": b"2"}
        other.join()
        assert contents(storage) == {"a": b"3"}

    def test_published_files_can_be_read(self, storage):
        put(storage, a=b"1", b=b"", c=bytes(range(256)) * 9)
        assert contents(storage) == {"a": b"1", "b": b"", "c": bytes(range(256)) * 9}
        assert contents(self.reopen(storage)) == contents(storage)
        assert storage.exists()
        assert [storage.size(name) for name in "abc"] == [1, 0, 2304]
        assert abs(storage.modified("a") - storage.modified("c")) < 60

    def test_directories_in_it_are_listed(self, storage):
        assert storage.folders() == frozenset()
        put(storage, a=b"1")
        for inside in ("one", "one/deep", "two"):
            put(storage.beside(f"{storage.location}/{inside}"), b=b"2")
        assert storage.folders() == {"one", "two"}
        assert storage.beside(f"{storage.location}/one").folders() == {"deep"}
        assert storage.names() == {"a"}

    def test_stamps_differ_where_contents_differ(self, storage):
        assert storage.stamps(["a"]) == {}
        put(storage, a=b"1", b=b"2")
        before = storage.stamps(["a", "b", "absent"])
        assert before.keys() == {"a", "b"}
        assert [size for _, size, _ in before.values()] == [1, 1]
        put(storage, a=b"12")
        after = storage.stamps(["a", "b"])
        assert after["a"] != before["a"]
        assert after["b"] == before["b"]

    def test_publishes_on_a_condition(self, storage):
        put(storage, a=b"1")
        assert replace_if(storage, True, a=b"2", b=b"2")
        assert not replace_if(storage, False, a=b"3", c=b"3")
        assert contents(storage) == {"a": b"2", "b": b"2"}
        assert contents(self.reopen(storage)) == contents(storage)

    @pytest.mark.parametrize("name", NAMES)
    def test_takes_any_name(self, storage, name):
        write(storage, {name: b"data", name + "2": b"more"})
        write(storage, {name: b"DATA", name + "2": b"MORE"})
        assert contents(storage) == {name: b"DATA", name + "2": b"MORE"}
        storage.remove([name])
        assert storage.names() == {name + "2"}

    @pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/a", "a\0b"])
    def test_refuses_invalid_names(self, storage, name):
        with pytest.raises(StorageError, match="cannot be the name of a file"):
            storage.read(name)
        with pytest.raises(StorageError, match="cannot be the name of a file"):
            write(storage, {"before": b"1", name: b"2"})
        assert storage.names() == frozenset()

    def test_views_are_read_only(self, storage):
        put(storage, a=b"1234")
        view = storage.read("a")
        assert view.readonly
        with pytest.raises(TypeError):
            view[0] = 0
        array = np.frombuffer(view, np.uint8)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)

    def test_writes_of_every_shape_are_appended(self, storage):
        with storage.publish() as publication:
            sink = publication.create("a")
            sink.reserve(100)
            sink.write(b"x")
            sink.write(np.arange(6, dtype="<i2").reshape(2, 3).data)
            sink.write(np.zeros((0, 3), np.float32).data)
            sink.write(b"")
        assert bytes(storage.read("a")) == b"x" + np.arange(6, dtype="<i2").tobytes()

    def test_files_are_invisible_before_the_commit(self, storage):
        put(storage, a=b"old")
        with storage.publish() as publication:
            publication.create("a").write(b"new")
            publication.create("b").write(b"new")
            assert contents(storage) == {"a": b"old"}
        assert contents(storage) == {"a": b"new", "b": b"new"}

    def test_a_failure_leaves_everything_as_it_was(self, storage):
        put(storage, a=b"old")
        with pytest.raises(ZeroDivisionError), storage.publish() as publication:  # noqa: PT012
            publication.create("a").write(b"new")
            publication.discard("a")
            raise ZeroDivisionError
        assert contents(storage) == {"a": b"old"}

    def test_an_empty_publication_changes_nothing(self, storage):
        put(storage, a=b"old")
        put(storage)
        assert contents(storage) == {"a": b"old"}

    def test_one_name_twice_is_refused(self, storage):
        with (  # noqa: PT012
            pytest.raises(StorageError, match="has a file of this name already"),
            storage.publish() as publication,
        ):
            publication.create("a")
            publication.create("a")
        assert storage.names() == frozenset()

    def test_discards_go_with_the_replacement(self, storage):
        put(storage, a=b"1", b=b"2", c=b"3")
        put(storage, a=b"one", d=b"four", discards=["b", "absent", "a"])
        assert contents(storage) == {"a": b"one", "c": b"3", "d": b"four"}
        put(storage, discards=["c"])
        assert contents(storage) == {"a": b"one", "d": b"four"}

    def test_discards_of_a_file_that_is_held(self, storage):
        put(storage, a=b"1", b=b"2")
        hold = storage.hold("a", alone=True)
        with storage.publish() as publication:
            publication.create("c").write(b"3")
            publication.discard("b", held=hold)
        assert contents(storage) == {"a": b"1", "c": b"3"}
        hold.release()
        hold.release()

    def test_a_file_that_was_replaced_meanwhile_is_not_discarded(self, storage):
        put(storage, a=b"1", b=b"2")
        hold = storage.hold("a", alone=True)
        put(self.reopen(storage), a=b"one", b=b"two")
        assert not hold.current()
        with storage.publish() as publication:
            publication.create("c").write(b"3")
            publication.discard("a", held=hold)
            publication.discard("b", held=hold)
        hold.release()
        assert contents(storage) == {"a": b"one", "b": b"two", "c": b"3"}

    def test_a_hold_reads_its_file_and_those_beside_it(self, storage):
        put(storage, a=b"1" * 9999, b=b"2")
        hold = storage.hold("a")
        assert bytes(hold.read("a")) == b"1" * 9999
        assert (bytes(hold.read("b")), hold.read("b").readonly) == (b"2", True)
        put(self.reopen(storage), a=b"one", b=b"two")
        if hold.effective:
            assert bytes(hold.read("a")) == b"1" * 9999
            assert not hold.current()
        assert bytes(hold.read("b")) == b"two"
        with pytest.raises(StorageError, match="cannot read 'c'") as caught:
            hold.read("c")
        assert caught.value.errno == errno.ENOENT
        hold.release()

    def test_many_hold_a_file_or_one_alone(self, storage):
        put(storage, a=b"1")
        one, two = storage.hold("a"), self.reopen(storage).hold("a")
        assert one.current()
        if one.effective:
            assert storage.hold("a", alone=True) is None
            one.release()
            one.release()
            assert storage.hold("a", alone=True) is None
            two.release()
            alone = storage.hold("a", alone=True)
            assert storage.hold("a") is None
            assert storage.hold("a", alone=True) is None
            alone.release()
        storage.hold("a").release()
        storage.remove(["a"])
        assert not one.effective or not one.current()
        with pytest.raises(StorageError, match="cannot hold 'a'"):
            storage.hold("a", alone=True)

    def test_files_get_other_names(self, storage):
        put(storage, a=b"1", b=b"2", c=b"3")
        assert storage.rename({"a": "x", "absent": "y", "b": "z"})
        assert contents(self.reopen(storage)) == {"x": b"1", "z": b"2", "c": b"3"}
        with pytest.raises(StorageError, match="already") as caught:
            storage.rename({"x": "a", "z": "c"})
        assert caught.value.errno == errno.EEXIST
        assert contents(storage) == {"a": b"1", "z": b"2", "c": b"3"}
        for names in ({"a": "../a"}, {"../a": "d"}):
            with pytest.raises(StorageError):
                storage.rename(names)
        assert contents(storage) == {"a": b"1", "z": b"2", "c": b"3"}

    def test_only_what_is_still_held_gets_another_name(self, storage):
        put(storage, a=b"1", b=b"2")
        hold = storage.hold("a", alone=True)
        assert storage.rename({"b": "x", "a": "y"}, held=hold)
        hold.release()
        assert contents(storage) == {"x": b"2", "y": b"1"}
        hold = storage.hold("y")
        if hold.effective:
            put(self.reopen(storage), x=b"two", y=b"one")
            assert not storage.rename({"x": "b", "y": "a"}, held=hold)
            assert contents(storage) == {"x": b"two", "y": b"one"}
        hold.release()

    def test_a_file_under_one_more_name(self, storage):
        put(storage, a=b"1234")
        hold = storage.hold("a")
        if not storage.links:
            with pytest.raises(StorageError) as caught, storage.publish() as publication:  # noqa: PT012
                publication.create("c").write(b"3")
                publication.link(hold, "b")
            assert unlinkable(caught.value)
            assert contents(storage) == {"a": b"1234"}
            return
        with storage.publish() as publication:
            publication.link(hold, "b")
            publication.create("c").write(b"3")
            storage.recover()
            assert contents(storage) == {"a": b"1234"}
        assert contents(storage) == {"a": b"1234", "b": b"1234", "c": b"3"}
        storage.remove(["a"])
        put(storage, c=b"4")
        assert contents(self.reopen(storage)) == {"b": b"1234", "c": b"4"}
        with pytest.raises(StorageError), storage.publish() as publication:  # noqa: PT012
            publication.create("c").write(b"5")
            publication.link(hold, "d")
        hold.release()
        assert contents(storage)["c"] == b"4"

    def test_a_file_that_was_replaced_is_not_linked(self, storage):
        put(storage, a=b"old")
        hold = storage.hold("a")
        if storage.links:
            put(self.reopen(storage), a=b"new")
            with pytest.raises(StorageError), storage.publish() as publication:
                publication.link(hold, "b")
            assert contents(storage) == {"a": b"new"}
        hold.release()

    def test_a_file_linked_to_itself(self, storage):
        put(storage, a=b"1234", b=b"5")
        hold = storage.hold("a")
        if storage.links:
            with storage.publish() as publication:
                publication.link(hold, "a")
                publication.create("b").write(b"6")
            assert contents(storage) == {"a": b"1234", "b": b"6"}
        hold.release()

    def test_a_view_outlives_replacing_and_removing(self, storage):
        data = np.random.default_rng(0).bytes(3 << 20)
        put(storage, a=data, b=b"1")
        views = [storage.read("a")]
        put(storage, a=b"short", b=b"2")
        views.append(storage.read("a"))
        storage.remove(["a", "b"])
        gc.collect()
        assert views[0] == data
        assert views[1] == b"short"
        assert storage.names() == frozenset()

    def test_bytes_that_are_forgotten_are_still_there(self, storage):
        data = np.random.default_rng(0).bytes(100_000)
        put(storage, a=data, b=b"")
        whole, empty = storage.read("a"), storage.read("b")
        for part in (whole, whole[5:-5], whole[:1], empty):
            storage.forget(part)
        assert whole == data
        assert empty == b""

    def test_a_missing_file_is_named(self, storage):
        put(storage, a=b"1")
        for ask in (storage.read, storage.size, storage.modified):
            with pytest.raises(StorageError, match="'absent'") as caught:
                ask("absent")
            assert caught.value.errno == errno.ENOENT
            assert isinstance(caught.value.__cause__, FileNotFoundError)
            assert storage.location in str(caught.value)

    def test_threads_publish_and_read_at_once(self, storage):
        write(storage, {"a": b"0" * 999, "b": b"0" * 999})
        problems = []

        def publish(letter):
            try:
                for _ in range(10):
                    write(storage, {"a": letter * 999, "b": letter * 999}, durable=False)
            except Exception as error:
                problems.append(error)

        def look():
            try:
                for _ in range(60):
                    for name in "ab":
                        seen = bytes(storage.read(name))
                        assert len(seen) == 999
                        assert len(set(seen)) == 1
            except Exception as error:
                problems.append(error)

        threads = [threading.Thread(target=publish, args=(letter,)) for letter in (b"1", b"2")]
        threads += [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems
        found = contents(storage)
        assert found["a"] == found["b"]
        assert set(found) == {"a", "b"}
