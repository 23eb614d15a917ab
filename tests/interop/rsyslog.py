"""rsyslog, the syslog server of most Linux distributions and the relay in front of many a SIEM."""

from pathlib import Path

from tests.interop.programs import PEERS, unpacked
from tests.interop.syslog_receiver import SyslogReceiver, Way

_PROPERTIES = {
    "raw": 'name="rawmsg"',
    "facility": 'name="syslogfacility"',
    "severity": 'name="syslogseverity"',
    "time": 'name="timereported" dateFormat="rfc3339"',
    "hostname": 'name="hostname"',
    "program": 'name="app-name"',
    "message_id": 'name="msgid"',
    "tag": 'name="syslogtag"',
    "message": 'name="msg"',
}


class Rsyslog(SyslogReceiver):
    """Its parsers, and its habit of escaping control characters, are as they come."""

    def command(self) -> list[str | Path]:
        """Run it from its own directory; it keeps no other state."""
        program = unpacked("rsyslogd")
        [modules] = PEERS.glob("usr/lib/*/rsyslog/imtcp.so")
        return [
            *(program, "-n", "-f", self.configuration_file),
            *("-i", self.directory / "pid", "-M", modules.parent),
        ]

    def configuration(self) -> str:
        """Give each way an input, and a ruleset that writes its file."""
        properties = "\n".join(
            f'  property(outname="{name}" {source} format="jsonf")' for name, source in _PROPERTIES.items()
        )
        return "\n".join(
            [
                f'global(workDirectory="{self.directory}" maxMessageSize="{self.longest}")',
                'module(load="imtcp")',
                'module(load="imudp")',
                f'template(name="received" type="list" option.jsonf="on") {{\n{properties}\n}}',
                *(self._ruleset(way) for way in self.ways),
                *(self._input(way) for way in self.ways),
                f'action(type="omfile" file="{self.directory / "own-words"}")\n',
            ]
        )

    def _ruleset(self, way: Way) -> str:
        action = f'action(type="omfile" file="{self.file_of(way)}" template="received")'
        return f'ruleset(name="{way.name}") {{ {action} }}'

    def _input(self, way: Way) -> str:
        place = f'address="{self.address}" port="{self.ports[way.name]}" ruleset="{way.name}"'
        if way.transport == "udp":
            return f'input(type="imudp" {place} rcvbufSize="8m")'
        return f'input(type="imtcp" {place} {self._tls(way)})'

    def _tls(self, way: Way) -> str:
        if way.transport != "tls":
            return ""
        options = {
            "name": "ossl",
            "mode": "1",
            "authMode": "x509/certvalid" if way.mutual else "anon",
            "CAFile": self.credentials.ca_file,
            "CertFile": self.credentials.certificate,
            "KeyFile": self.credentials.key,
        }
        return " ".join(f'streamDriver.{name}="{value}"' for name, value in options.items())
