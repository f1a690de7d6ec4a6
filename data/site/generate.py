#!/usr/bin/env python3
"""Puts the files that all pages share into a C source: generate.py style.css search.js OUTPUT.c"""
import sys


def literal(path):
    with open(path, encoding='ascii') as file:
        return '\n'.join('    "' + line.rstrip('\n').replace('\\', '\\\\').replace('"', '\\"') + '\\n"' for line in file)


with open(sys.argv[3], 'w', encoding='ascii') as out:
    out.write('/* Made by data/site/generate.py. */\n#include "cli/site.h"\n\n')
    out.write(f'const char site_style[] =\n{literal(sys.argv[1])};\n')
    out.write(f'const char site_script[] =\n{literal(sys.argv[2])};\n')
