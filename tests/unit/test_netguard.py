"""Where events may be posted to: web ports, those that the operator named, and no other service's own."""

from __future__ import annotations

import pytest

from relay.base.netguard import target_fault


@pytest.mark.parametrize(
    ("url", "private", "ports", "fine"),
    [
        ("https://hooks.example.org/", False, [], True),
        ("https://hooks.example.org:443/", False, [], True),
        ("https://hooks.example.org:80/", False, [], True),
        ("https://hooks.example.org:8443/", False, [], False),
        ("https://hooks.example.org:8443/", False, [8443], True),
        ("https://hooks.example.org:25/", False, [8443], False),
        ("https://hooks.example.org:0/", False, [], False),
        ("http://127.0.0.1:2527/", True, [], True),
        ("http://127.0.0.1:25/", True, [], False),
        ("http://127.0.0.1:587/", True, [587], True),
    ],
)
def test_ports(url: str, private: bool, ports: list[int], fine: bool) -> None:
    fault = target_fault(url, private=private, ports=ports)
    assert (fault is None) == fine
    if fault:
        assert "events are posted to the ports 80, 443" in fault
