#!/usr/bin/env python3
"""Compiles the languages of reports: generate.py OUTPUT.c CODES-DIRECTORY SOURCE.c OUTCOMES.def LANGUAGE.tsv...

A language is a table of two columns, the English text and what takes its place. Every text of data/codes/ that stands in
reports (the columns report and advice), every T("...") of the source and all words of the outcomes must have a row in every language, with the same
conversions of printf in the same order, and no row may be left over: a mistake stops the build."""
import csv
import re
import sys
from pathlib import Path

CONVERSION = re.compile(r'%[-0-9.*]*(?:zu|llu|[%a-z])')


def rows(path):
    with open(path, encoding='utf-8', newline='') as file:
        yield from csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE)


def wanted(codes, source, outcomes):
    texts = set()
    for name in ('codes.tsv', 'enhanced.tsv', 'topics.tsv'):
        for row in rows(Path(codes) / name):
            texts |= {row[column] for column in ('report', 'advice') if row[column]}
    text = Path(source).read_text(encoding='utf-8')
    for match in re.finditer(r'\bT\(((?:\s*"(?:[^"\\]|\\.)*")+)\s*\)', text):
        texts.add(''.join(re.findall(r'"((?:[^"\\]|\\.)*)"', match[1])))
    words = re.sub(r'/\*.*?\*/', '', Path(outcomes).read_text(encoding='utf-8'), flags=re.S)
    return texts | {word for word in re.findall(r'"([^"\n]*)"', words) if word}


def quoted(text):
    return '"' + ''.join(c if 32 <= ord(c) < 127 and c not in '"\\?' else ''.join(f'\\{b:03o}' for b in c.encode())
                         for c in text) + '"'


def language(path, texts):
    table = {}
    for row in rows(path):
        english, translation = row['english'], row['translation']
        if english in table:
            sys.exit(f'{path}: stands there twice: {english!r}')
        if not translation:
            sys.exit(f'{path}: there is nothing for {english!r}')
        if CONVERSION.findall(english) != CONVERSION.findall(translation):
            sys.exit(f'{path}: other conversions than in {english!r}')
        table[english] = translation
    for text in sorted(texts - table.keys()):
        sys.exit(f'{path}: there is no row for {text!r}')
    for text in sorted(table.keys() - texts):
        sys.exit(f'{path}: no text is like this any more: {text!r}')
    return table


def main(output, codes, source, outcomes, *paths):
    texts = wanted(codes, source, outcomes)
    with open(output, 'w', encoding='ascii') as out:
        out.write('/* Made by data/locale/generate.py. */\n#include "mail/locale_table.h"\n\n')
        names = []
        for path in paths:
            tag, table = Path(path).stem, language(path, texts)
            names.append((tag, len(table)))
            out.write(f'static const struct locale_row rows_{tag}[] = {{\n')
            for english in sorted(table, key=lambda t: t.encode()):
                out.write(f'    {{{quoted(english)}, {quoted(table[english])}}},\n')
            out.write('};\n')
        out.write('const struct locale locale_table[] = {\n')
        out.writelines(f'    {{"{tag}", rows_{tag}, {count}}},\n' for tag, count in names)
        out.write(f'}};\nconst size_t locale_table_len = {len(names)};\n')


if __name__ == '__main__':
    main(*sys.argv[1:])
