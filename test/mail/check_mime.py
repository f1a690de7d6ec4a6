#!/usr/bin/env python3
"""Reads reports and a digest with Python's email package: an independent parser must see what was meant.

    check_mime.py REPORT_SAMPLES_PROGRAM
"""
import email
import email.policy
import subprocess
import sys

PLAIN = ['text/plain', 'message/delivery-status', 'text/rfc822-headers']


def message(program, name):
    raw = subprocess.run([program, name], stdout=subprocess.PIPE, check=True).stdout
    parsed = email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)
    for part in parsed.walk():
        assert not part.defects, (name, part.get_content_type(), part.defects)
        for field, value in part.items():
            assert not value.defects, (name, field, value.defects)
    return parsed


def check_report(program, name):
    report = message(program, name)
    assert report.get_content_type() == 'multipart/report'
    assert report.get_param('report-type') == 'delivery-status'
    assert report['Auto-Submitted'] == 'auto-replied'
    assert report['In-Reply-To'] == report['References'] == '<1@elsewhere.example>'
    assert report['To'].addresses[0].addr_spec == 'alice@elsewhere.example'
    assert report['From'].addresses[0].addr_spec == 'postmaster@mx.example.test'
    assert report['Date'].datetime.isoformat() == '2000-02-29T00:00:00+00:00'
    assert [part.get_content_maintype() for part in report.get_payload()][:2] == ['text', 'message'], name
    assert len(report.get_payload()) == 3, name
    return report


def check_parts(program, name, types, full):
    report = check_report(program, name)
    parts = report.get_payload()
    assert [p.get_content_type() for p in parts] == types, [p.get_content_type() for p in parts]
    assert (b'The b' in parts[2].as_bytes()) == full
    assert b'Message-ID: <1@elsewhere.example>' in parts[2].as_bytes()
    return report, parts[0].get_content(), parts[1]


def check_fields(program):
    report, text, status = check_parts(program, 'failed-no-mailbox', PLAIN, False)
    assert report['Subject'] == 'Not delivered: Hello there', report['Subject']
    about_message, ghost = status.get_payload()
    assert about_message['Reporting-MTA'] == 'dns; mx.example.test'
    assert about_message['Original-Envelope-Id'] == 'QQ314159'
    assert ghost['Final-Recipient'] == 'rfc822; ghost@example.net'
    assert ghost['Original-Recipient'] == 'rfc822; Ghost@example.net'
    assert (ghost['Action'], ghost['Status'], ghost['Remote-MTA']) == ('failed', '5.1.1', 'dns; mx.example.net')
    assert ghost['Diagnostic-Code'] == ('smtp; 550 5.1.1 <ghost@example.net>: Recipient address rejected: User '
                                        'unknown'), ghost['Diagnostic-Code']
    assert ghost['Last-Attempt-Date'] == 'Tue, 29 Feb 2000 00:00:00 +0000'
    _, _, status = check_parts(program, 'delayed', PLAIN, False)
    delayed = status.get_payload()[1]
    assert (delayed['Action'], delayed['Status']) == ('delayed', '4.4.1')
    assert delayed['Will-Retry-Until'] == 'Sat, 04 Mar 2000 12:00:00 +0000'
    _, text, status = check_parts(program, 'utf8-to-ascii', PLAIN, False)
    assert status.get_payload()[1]['Final-Recipient'] == r'utf-8; jos\x{E9}@example.net'
    assert 'josé@example.net' in text and 'Subject:  été' in text


def check_utf8(program):
    types = ['text/plain', 'message/global-delivery-status', 'message/global-headers']
    report, text, status = check_parts(program, 'utf8', types, False)
    assert report['Subject'] == 'Not delivered: été', report['Subject']
    assert 'josé@example.net' in text
    assert 'Final-Recipient: utf-8; josé@example.net'.encode() in status.as_bytes()  # taken apart by nobody yet
    check_parts(program, 'utf8-full', [*PLAIN[:2], 'message/global'], True)


def main(program):
    for name in subprocess.run([program], stdout=subprocess.PIPE, check=True).stdout.decode().split():
        check_report(program, name)
    check_fields(program)
    check_parts(program, 'full', [*PLAIN[:2], 'message/rfc822'], True)
    check_utf8(program)
    digest = message(program, 'digest')
    assert digest.get_content_type() == 'text/plain' and digest['Auto-Submitted'] == 'auto-generated'
    assert digest['To'].addresses[0].addr_spec == 'postmaster@example.test'
    assert '0000000000xyz' in digest.get_content() and 'tacit queue release ID' in digest.get_content()


if __name__ == '__main__':
    main(sys.argv[1])
