#!/usr/bin/env python3
"""Compiles the tables of this directory into C tables.

    generate.py codes.tsv enhanced.tsv topics.tsv phrases.tsv pairs.tsv OUTPUT.c

The columns are described in README.md.

Whatever the C code relies on is checked here, so that a mistake in the data stops the build: columns, numbers, text
that is plain ASCII, and that no number has two meanings of the same origin.
"""
import csv
import re
import sys

BASIC = ['code', 'name', 'status', 'category', 'defined_in', 'also_in', 'commands', 'client_action', 'retry', 'scope',
         'enhanced_typical', 'uncertain', 'meaning', 'delivery', 'when_seen', 'fix_sender', 'fix_receiver', 'notes',
         'report', 'advice']
ENHANCED = ['name', 'classes', 'basic_codes', 'section', 'registry', 'client_action', 'uncertain', 'meaning',
            'when_seen', 'fix_sender', 'fix_receiver', 'notes', 'report', 'advice']
TOPIC = ['topic', 'words', 'meaning', 'fix_sender', 'report', 'advice']
PARTIES = ['none', 'unknown', 'address', 'domain', 'mailbox', 'receiver', 'sender', 'origin', 'message', 'policy',
           'network']
NUMBER = re.compile(r'(?P<class>[245X])\.(?P<subject>\d{1,3}|XXX)\.(?P<detail>\d{1,3}|YYY)(?:-(?P<last>\d{1,3}))?'
                    r'(?: \((?P<vendor>[^)]+)\))?')


class Mistake(Exception):
    pass


def rows(path):
    with open(path, encoding='utf-8', newline='') as file:
        for line, row in enumerate(csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE), 2):
            where = f'{path}:{line}'
            if None in row or None in row.values():
                raise Mistake(f'{where}: not as many columns as the first row')
            for column, text in row.items():
                if not text.isascii() or not text.isprintable():
                    raise Mistake(f'{where}: column {column} has a character that is not printable ASCII')
            for column in ('name', 'meaning', 'delivery', 'fix_receiver', 'phrase', 'difference'):
                if column in row and not row[column]:
                    raise Mistake(f'{where}: column {column} is empty')
            if bool(row.get('report')) != bool(row.get('advice')) and 'report' in row:
                raise Mistake(f'{where}: report and advice go together')
            if row.get('party', 'none') not in PARTIES:
                raise Mistake(f'{where}: party is not one of {", ".join(PARTIES)}')
            yield where, row


def party(row):
    return f'.party = CODES_PARTY_{row["party"].upper()}'


def quoted(text):
    return 'STR("' + text.replace('\\', '\\\\').replace('"', '\\"').replace('??', '?\\?') + '")'


def fields(row, columns):
    return ', '.join(f'.{column} = {quoted(row[column])}' for column in columns)


def basic(path):
    seen = set()
    for where, row in rows(path):
        if not re.fullmatch(r'[1-5]\d\d', row['code']) or row['code'] in seen:
            raise Mistake(f'{where}: {row["code"]!r} is not a reply code, or stands here twice')
        seen.add(row['code'])
        yield int(row['code']), f'{{.code = {row["code"]}, {party(row)}, {fields(row, BASIC[1:])}}}'


def enhanced(path):
    seen = set()
    for where, row in rows(path):
        match = NUMBER.fullmatch(row['code'])
        if not match:
            raise Mistake(f'{where}: {row["code"]!r} is not an enhanced code')
        if row['code'] in seen:
            raise Mistake(f'{where}: {row["code"]} stands here twice')
        seen.add(row['code'])
        class_, subject, detail, last, vendor = match.group('class', 'subject', 'detail', 'last', 'vendor')
        part = detail == 'YYY'
        if subject == 'XXX' and not (part and class_ != 'X'):
            raise Mistake(f'{where}: {row["code"]} leaves out the subject but not the rest')
        key = [0 if class_ == 'X' else int(class_), 0 if subject == 'XXX' else int(subject), 0 if part else int(detail)]
        last = int(last) if last else key[2]
        if last < key[2]:
            raise Mistake(f'{where}: the range of {row["code"]} runs backwards')
        if part and not row['report']:
            raise Mistake(f'{where}: {row["code"]} needs words for reports: it is what is left where nothing fits')
        text = (f'{{.class = {key[0]}, .is_part = {str(part).lower()}, .subject = {key[1]}, .detail = {key[2]}, '
                f'.detail_last = {last}, .vendor = {quoted(vendor or "")}, {party(row)}, {fields(row, ENHANCED)}}}')
        yield (key[1], key[2], key[0], vendor or ''), text


def topics(path):
    for number, (where, row) in enumerate(rows(path)):
        match = re.fullmatch(r'([245])\.(\d{1,3})\.(\d{1,3})', row['status'])
        if not match:
            raise Mistake(f'{where}: {row["status"]!r} is not an enhanced code')
        status = '{' + ', '.join(match.groups()) + '}'
        yield number, f'{{.status = {status}, {party(row)}, {fields(row, TOPIC)}}}'


def phrases(path, topics_path):
    names = [row['topic'] for _, row in rows(topics_path)]
    seen = set()
    for number, (where, row) in enumerate(rows(path)):
        if row['topic'] not in names:
            raise Mistake(f'{where}: there is no topic {row["topic"]!r}')
        if row['phrase'] in seen or row['phrase'] != row['phrase'].lower():
            raise Mistake(f'{where}: the phrase stands here twice, or has capitals')
        seen.add(row['phrase'])
        yield number, f'{{.topic = {names.index(row["topic"])}, {fields(row, ["phrase"])}}}'


def pairs(path):
    for number, (_, row) in enumerate(rows(path)):
        yield number, f'{{{fields(row, ["a", "b", "difference", "when", "advice"])}}}'


def table(out, kind, entries):
    texts = [text for _, text in sorted(entries, key=lambda entry: entry[0])]
    out.write(f'const struct codes_{kind} codes_{kind}_table[] = {{\n')
    out.writelines(f'    {text},\n' for text in texts)
    out.write(f'}};\nconst size_t codes_{kind}_table_len = {len(texts)};\n')


def main(codes_path, enhanced_path, topics_path, phrases_path, pairs_path, output):
    try:
        tables = {'basic': list(basic(codes_path)), 'enhanced': list(enhanced(enhanced_path)),
                  'topic': list(topics(topics_path)), 'phrase': list(phrases(phrases_path, topics_path)),
                  'pair': list(pairs(pairs_path))}
    except Mistake as mistake:
        sys.exit(f'generate.py: {mistake}')
    with open(output, 'w', encoding='ascii') as out:
        out.write('/* Made by data/codes/generate.py. */\n#include "codes/table.h"\n\n')
        for kind, entries in tables.items():
            table(out, kind, entries)


if __name__ == '__main__':
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:])
