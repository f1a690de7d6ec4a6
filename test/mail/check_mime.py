#!/usr/bin/env python3
"""Reads reports and a digest with Python's email package: an independent parser must see what was meant.

    check_mime.py TEST_REPORT_PROGRAM
"""
import email
import email.policy
import subprocess
import sys


def message(program, name):
    raw = subprocess.run([program, name], stdout=subprocess.PIPE, check=True).stdout
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
    for part in parsed.walk():
        assert not part.defects, (name, part.get_content_type(), part.defects)
        for field, value in part.items():
            assert not value.defects, (name, field, value.defects)
    return parsed


def check_report(program, name, types, full, utf8):
    report = message(program, name)
    assert report.get_content_type() == 'multipart/report'
    assert report.get_param('report-type') == 'delivery-status'
    assert report['Auto-Submitted'] == 'auto-replied'
    assert report['In-Reply-To'] == '<1@elsewhere.example>'
    assert report['To'].addresses[0].addr_spec == 'alice@elsewhere.example'
    assert report['From'].addresses[0].addr_spec == 'postmaster@mx.example.test'
    assert report['Date'].datetime.isoformat() == '2000-02-29T00:00:00+00:00'
    assert report['Subject'] == ('Not delivered: été' if utf8 else 'Not delivered: Hello there'), report['Subject']
    parts = report.get_payload()
    assert [p.get_content_type() for p in parts] == types, [p.get_content_type() for p in parts]
    text, status, returned = parts
    eric = 'éric@example.test' if utf8 else r'\x{E9}ric@example.test'
    assert 'ghost@example.test' in text.get_content() and eric in text.get_content()
    if not utf8:  # the package takes apart the fields of message/delivery-status only
        about_message, ghost, delayed = status.get_payload()
        assert about_message['Reporting-MTA'] == 'dns; mx.example.test'
        assert about_message['Original-Envelope-Id'] == 'QQ314159'
        assert ghost['Final-Recipient'] == 'rfc822; ghost@example.test'
        assert ghost['Original-Recipient'] == 'rfc822; Ghost@example.test'
        assert (ghost['Action'], ghost['Status']) == ('failed', '5.1.1')
        assert ghost['Diagnostic-Code'] == 'smtp; 550 5.1.1 no such user', ghost['Diagnostic-Code']
        assert delayed['Final-Recipient'] == 'utf-8; ' + eric
        assert (delayed['Action'], delayed['Status']) == ('delayed', '4.2.2')
        assert delayed['Will-Retry-Until'] == 'Wed, 01 Mar 2000 00:00:00 +0000'
    else:
        assert ('Final-Recipient: utf-8; ' + eric).encode() in status.as_bytes()
    assert (b'The b' in returned.as_bytes()) == full
    assert b'Message-ID: <1@elsewhere.example>' in returned.as_bytes()


def main(program):
    check_report(program, 'plain', ['text/plain', 'message/delivery-status', 'text/rfc822-headers'], False, False)
    check_report(program, 'full', ['text/plain', 'message/delivery-status', 'message/rfc822'], True, False)
    check_report(program, 'utf8', ['text/plain', 'message/global-delivery-status', 'message/global-headers'], False, True)
    check_report(program, 'utf8-full', ['text/plain', 'message/global-delivery-status', 'message/global'], True, True)
    digest = message(program, 'digest')
    assert digest.get_content_type() == 'text/plain' and digest['Auto-Submitted'] == 'auto-generated'
    assert digest['To'].addresses[0].addr_spec == 'postmaster@example.test'
    assert '0000000000xyz' in digest.get_content() and 'tacit queue release ID' in digest.get_content()


if __name__ == '__main__':
    main(sys.argv[1])
