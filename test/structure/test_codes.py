#!/usr/bin/env python3
"""Every code that the program can send or report stands in the catalogue, data/codes/, and may answer the command that
it is sent to.

    test_codes.py SOURCE-ROOT

Codes are found in the sources (replies written out, the table of outcomes, enhanced codes as text); which command a
reply is sent to, in the scripts of the protocol tests."""
import csv
import re
import sys
from pathlib import Path

ROOT = Path(sys.argv[1])
REPLY = re.compile(r'SMTP_REPLY(?:_INIT)?\(\s*(\d{3}),\s*(\d),\s*(\d+),\s*(\d+),')
OUTCOME = re.compile(r'(?:true|false),\s*([245]),\s*(\d+),\s*(\d+),')
STATUS = re.compile(r'"([245])\.(\d{1,3})\.(\d{1,3})"')
VERBS = {'HELO', 'EHLO', 'LHLO', 'MAIL', 'RCPT', 'DATA', 'BDAT', 'RSET', 'NOOP', 'VRFY', 'EXPN', 'HELP', 'QUIT', 'TURN',
         'STARTTLS', 'AUTH', 'XCLIENT', 'ETRN'}
# What XCLIENT, LHLO and unknown commands get is defined elsewhere, or by the rule for any command (RFC 5321 4.2.4, 4.3.2).
ANY = {'421', '500', '501', '502', '503', '504', '521', '554'}
ALSO = {('LHLO', '250'), ('XCLIENT', '220'), ('XCLIENT', '550'), ('TURN', '502')}
# Registered for failures for good only; here what they name is ours or theirs to mend, so that it is a failure for now.
FOR_NOW = {'4.5.2', '4.5.4', '4.7.8', '4.7.9', '4.7.10', '4.7.11'}
wrong = []


def rows(name):
    with open(ROOT / 'data/codes' / name, encoding='ascii', newline='') as file:
        return list(csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE))


codes = {row['code']: row for row in rows('codes.tsv')}
registered = {row['code'][2:]: row['classes'].split(',') for row in rows('enhanced.tsv') if row['registry'] == 'iana'}


def check_code(where, code):
    if code not in codes or codes[code]['status'] not in ('standard', 'experimental', 'table-only'):
        wrong.append(f'{where}: {code} is not a code of SMTP that the catalogue knows')


def check_status(where, status):
    class_, subject, detail = status
    if class_ == '0' or '.'.join(status) in FOR_NOW:
        return
    if class_ not in registered.get(f'{subject}.{detail}', []):
        wrong.append(f'{where}: {".".join(status)} is not registered, or not for this class')


def check_sources():
    found = 0
    for path in sorted((ROOT / 'src').rglob('*')):
        if path.suffix not in ('.c', '.h', '.def') or path.parent.name == 'codes' or path.name.startswith(('card', 'explain')):
            continue
        text = re.sub(r'/\*.*?\*/', lambda m: '\n' * m.group().count('\n'), path.read_text(), flags=re.S)
        for match in REPLY.finditer(text):
            where = f'{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}'
            found += 1
            check_code(where, match[1])
            check_status(where, match.groups()[1:])
            if match[2] != '0' and match[1][0] != match[2]:
                wrong.append(f'{where}: {match[1]} and {".".join(match.groups()[1:])} contradict each other')
        for match in (OUTCOME.finditer(text) if path.suffix == '.def' else STATUS.finditer(text)):
            found += 1
            check_status(f'{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}', match.groups())
    return found


def may_answer(code, verb, after_data):
    commands = codes.get(code, {}).get('commands', '')
    if code in ANY or (verb, code) in ALSO or 'any command' in commands:
        return True
    if after_data:
        return 'final dot' in commands
    return re.search(rf'\b{verb}\b', commands) is not None


def check_scripts():
    found = 0
    for path in sorted((ROOT / 'test/smtp/scripts').glob('*.smtp')):
        verb, content, waiting = None, False, 0
        for number, line in enumerate(path.read_text(encoding='utf-8', errors='replace').splitlines(), 1):
            if line.startswith('=='):
                verb, content, waiting = None, False, 0
            elif line.startswith('C: '):
                if content:
                    if line == 'C: .':
                        waiting = 1
                    continue
                word = re.split(r'[ :]', line[3:].strip() + ' ')[0].upper()
                verb, waiting = (word if word in VERBS else None), waiting + 1
            elif line.startswith('S: ') and re.match(r'S: \d{3}(?: |$)', line):
                code = line[3:6]
                if waiting == 1 and (verb or content):
                    found += 1
                    if not may_answer(code, verb, content):
                        wrong.append(f'{path.relative_to(ROOT)}:{number}: {code} may not answer {verb}')
                waiting = 0
                content = code == '354'
    return found


if __name__ == '__main__':
    sources, scripts = check_sources(), check_scripts()
    if sources < 100 or scripts < 50:
        sys.exit(f'only {sources} codes in the sources and {scripts} replies in the scripts were found')
    if wrong:
        sys.exit('\n'.join(wrong))
    print(f'{sources} codes, {scripts} replies')
