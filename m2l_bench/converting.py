"""Files converted one by one, for the commands that encode and decode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

from m2l_bench import console
from m2l_bench.files.untrusted import printable
from m2l_bench.progress import progress


def convert_files(source: Path, target: Path, suffixes: tuple[str, ...], convert: Callable[[Path, Path], None]) -> bool:
    """Convert a file, or every file of a folder, and print what failed.

    Parameters
    ----------
    source : Path
        File or folder.
    target : Path
        File, or folder, in which paths and names are those of `source`.
    suffixes : tuple of str
        Those that a file that is written may have; in a folder they have the first.
    convert : callable
        Reads the first path and writes the second; raises ``DoneError`` where that is done already.

    Returns
    -------
    bool
        Whether no file failed.

    Raises
    ------
    ValueError
        If there is nothing to convert, or `target` has another suffix.
    """
    from m2l_bench.audio import scan_audio
    from m2l_bench.memory import keep_freed_memory
    from m2l_bench.systems.files import DoneError

    keep_freed_memory()
    pairs, skipped = [(source, target)], {}
    if source.is_dir():
        found = sorted(source.rglob("*.safetensors"))
        if suffixes == (".safetensors",):
            listing = scan_audio(source)
            found, skipped = listing.paths, listing.skipped
        pairs = [(path, target / path.relative_to(source).with_suffix(suffixes[0])) for path in found]
    elif target.suffix.lower() not in suffixes:
        raise ValueError(f"{target}: suffix must be one of {', '.join(suffixes)}, got {target.suffix!r}")
    if skipped:
        names = [f"{name} ({reason})" for name, reason in skipped.items()]
        typer.echo(f"{len(skipped)} paths skipped: {console.first_few(names)}", err=True)
    if not pairs:
        raise ValueError(f"{source}: must hold files to convert, got none")
    failed: dict[str, str] = {}
    done = 0
    with progress("files", len(pairs)) as shown:
        for given, written in pairs:
            try:
                convert(given, written)
            except DoneError:
                done += 1
            except (ValueError, OSError) as error:
                failed[str(given)] = str(error)
            shown.advance()
    if done:
        typer.echo(f"{done} files already done", err=True)
    for line in console.by_reason(failed.items()):
        typer.echo(f"error: {printable(line)}", err=True)
    return not failed
