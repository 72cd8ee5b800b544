"""The steps of a build, by one process or by several that share the files.

Each of several processes reads a file at a time into a folder of its own, a *part*. The
first process then adds these parts to the store, in the order of the files.
"""

import contextlib
import shutil

from tqdm.auto import tqdm

from .._stored_texts import JOURNAL, read_description
from ..nn.group import all_or_none, current_group
from ._builder import Builder, describe_file
from ._files import hash_json

# Folder of the parts within that of the store.
PARTS = "parts"


class Build:
    """A build of a store. All processes of the group call its methods.

    Parameters
    ----------
    folder : Path
    plan : dict
        What the store is made of, as in its ``store.json``.
    files : list of Path
        All files of the store.
    tokenizer : PreTrainedTokenizerFast
    known_labels : list of str or None
    """

    def __init__(self, folder, plan, files, tokenizer, known_labels):
        self.folder, self.plan, self.files = folder, plan, files
        self.tokenizer, self.known_labels = tokenizer, known_labels
        group = current_group()
        self.rank, self.size = (0, 1) if group is None else (group.rank, group.size)

    def run(self, sources, verbose):
        """Read the files that are not finished, and finish the store.

        Parameters
        ----------
        sources : list of dict
            What is known of the first files, which are finished.
        verbose : int
        """
        n_files, n_done = len(self.files), len(sources)
        n_docs = sum(source["documents"] for source in sources)
        bar = tqdm(
            desc="building",
            unit="doc",
            initial=n_docs,
            disable=self.rank > 0 or not verbose,
        )
        with contextlib.ExitStack() as stack:
            stack.enter_context(bar)
            builder = None
            with all_or_none():
                if self.rank == 0:
                    builder = self._open_builder(self.folder, sources)
                    stack.enter_context(builder)
            for start in range(n_done, n_files, self.size):
                numbers = range(start, min(start + self.size, n_files))
                name = f"file {start + 1} of {n_files}"
                bar.set_postfix_str(name, refresh=False)
                with all_or_none():
                    if self.size > 1 and start + self.rank in numbers:
                        self._read_part(start + self.rank)
                with all_or_none():
                    for number in numbers if self.rank == 0 else ():
                        self._add(builder, number, bar)
            with all_or_none():
                if self.rank == 0:
                    builder.finish(self.files)
                    shutil.rmtree(self.folder / PARTS, ignore_errors=True)

    def _open_builder(self, folder, sources):
        return Builder(folder, self.plan, sources, self.tokenizer, self.known_labels)

    def _part_folder(self, number):
        return self.folder / PARTS / f"{number:06}"

    def _read_part(self, number):
        """Read a file into a part, unless an earlier build has finished this part."""
        folder, path = self._part_folder(number), self.files[number]
        if self._find_part(number) is None:
            folder.mkdir(parents=True, exist_ok=True)
            with self._open_builder(folder, []) as builder:
                builder.add_file(path)

    def _find_part(self, number):
        """Return what is known of the file of a finished part, or None."""
        path = self._part_folder(number) / JOURNAL
        if not path.exists():
            return None
        found = read_description(path)
        same_plan = all(
            found[key] == self.plan[key] for key in _without_name(self.plan)
        )
        known = describe_file(self.files[number]).items()
        sources = [part for part in found["sources"] if known <= part.items()]
        return sources[0] if same_plan and sources else None

    def _add(self, builder, number, bar):
        """Add a file to the store: its part if there is one, or what is read now."""
        source, folder = self._find_part(number), self._part_folder(number)
        if source is not None:
            builder.add_part(folder, source)
            bar.update(source["documents"])
            shutil.rmtree(folder)
        elif self.size == 1:
            builder.add_file(self.files[number], bar.update)
        else:
            raise ValueError(
                f"Process 0 does not find {folder}, into which another process has "
                f"read {self.files[number]}. All processes must see the folder of the "
                "store."
            )


def check_same_build(group, plan, files):
    """Refuse a build whose processes have been given different files or arguments.

    Raises
    ------
    ValueError
        On all processes. The message names what differs.
    """
    with all_or_none():
        own = {key: plan[key] for key in _without_name(plan)}
        own["files"] = hash_json([describe_file(path) for path in files])
    first, *others = group.gather_objects(own)
    for rank, other in enumerate(others, 1):
        names = [name for name in first if first[name] != other[name]]
        if names:
            raise ValueError(
                "All processes of a group must build the same store, and process "
                f"{rank} differs from process 0 in {', '.join(names)}. Give all of "
                "them the same files and arguments, or build the store in the context "
                "skxmc.distributed.alone()."
            )


def _without_name(plan):
    """Return the keys of a plan that decide what a store holds."""
    # The same tokenizer may have been loaded from another place.
    return [key for key in plan if key not in ("encoder", "sources")]
