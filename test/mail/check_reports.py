#!/usr/bin/env python3
"""Compares reports of each kind with those in reports/, which were read and found good, word for word.

    check_reports.py PROGRAM            PROGRAM is report_samples
    check_reports.py --write PROGRAM    takes them as they are now; then read them: git diff

Ask of each: would somebody who knows nothing of mail servers know whether the mail arrived, and what to do?
"""
import difflib
import subprocess
import sys
from pathlib import Path

REPORTS = Path(__file__).parent / 'reports'


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def compare(program, names, language, write):
    """How many are not as they should be; those of another language stand in a folder of its name."""
    folder = REPORTS / language if language else REPORTS
    differences = 0
    for name in names:
        text = run(program, name, *([language] if language else [])).replace(b'\r\n', b'\n').decode()
        path = folder / f'{name}.eml'
        if write:
            folder.mkdir(exist_ok=True)
            path.write_text(text)
            continue
        expected = path.read_text() if path.exists() else ''
        if text != expected:
            differences += 1
            sys.stdout.writelines(difflib.unified_diff(expected.splitlines(True), text.splitlines(True), str(path), name))
    left = {path.stem for path in folder.glob('*.eml')} - set(names)
    if left:
        sys.exit(f'nobody writes these any more: {", ".join(sorted(left))}')
    return differences


def main(program, write):
    names = run(program).decode().split()
    differences = sum(compare(program, names, language, write) for language in ('', 'de'))
    if differences:
        sys.exit(f'{differences} reports are not as in {REPORTS}')


if __name__ == '__main__':
    main(sys.argv[-1], '--write' in sys.argv)
