"""Asking an appliance why something does not work."""

import json
import subprocess


def command(appliance, *words):
    done = subprocess.run([str(word) for word in (appliance.lab.binary, *words, "--json", "--socket", appliance.socket)],
                          capture_output=True, text=True, timeout=60)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def segment_test(appliance, segment):
    return command(appliance, "test", "segment", segment)


def codes(answer, *severities):
    severities = severities or ("error", "warning")
    return {finding["code"] for finding in answer["findings"] if finding["severity"] in severities}
