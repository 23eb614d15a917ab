"""syslog-ng, the other syslog server that stands in front of SIEMs."""

from pathlib import Path

from tests.interop.programs import PEERS, unpacked
from tests.interop.syslog_receiver import SyslogReceiver, Way

_MACROS = {
    "raw": "RAWMSG",
    "facility": "FACILITY_NUM",
    "severity": "LEVEL_NUM",
    "time": "S_ISODATE",
    "hostname": "HOST",
    "program": "PROGRAM",
    "message_id": "MSGID",
    "tag": "MSGHDR",
    "message": "MESSAGE",
}


class SyslogNg(SyslogReceiver):
    """Its `syslog()` sources count octets, its `network()` sources end a message at a newline."""

    def command(self) -> list[str | Path]:
        """Run it from its own directory, where all its state is kept."""
        program = unpacked("syslog-ng")
        [modules] = PEERS.glob("usr/lib/syslog-ng/*/libafsocket.so")
        return [
            *(program, "--foreground", "--stderr", "--no-caps"),
            *("--cfgfile", self.configuration_file, "--module-path", modules.parent),
            *("--persist-file", self.directory / "persist", "--pidfile", self.directory / "pid"),
            *("--control", self.directory / "control"),
        ]

    def configuration(self) -> str:
        """Give each way a source, and a path into its file."""
        fields = " ".join(f"{name}=${{{macro}}}" for name, macro in _MACROS.items())
        return "\n".join(
            [
                "@version: 3.38",
                f"options {{ keep-hostname(yes); use-dns(no); log-msg-size({self.longest});",
                "frac-digits(3); };",
                f'template t_received {{ template("$(format-json --scope none {fields})\\n"); }};',
                *(self._path(way) for way in self.ways),
                "",
            ]
        )

    def _path(self, way: Way) -> str:
        source = (
            f'{"syslog" if way.counts_octets else "network"}(ip("127.0.0.1") port({self.ports[way.name]}) '
            f'transport("{way.transport}") {self._transport_options(way)} {self._flags(way)})'
        )
        target = f'file("{self.file_of(way)}" template(t_received))'
        return f"log {{ source {{ {source}; }}; destination {{ {target}; }}; flags(flow-control); }};"

    def _flags(self, way: Way) -> str:
        return f"flags(store-raw-message{', syslog-protocol' if way.header == 'rfc5424' else ''})"

    def _transport_options(self, way: Way) -> str:
        if way.transport == "udp":
            return "so-rcvbuf(4194304)"
        if way.transport == "tcp":
            return ""
        verification = "required-trusted" if way.mutual else "optional-untrusted"
        own = self.credentials
        return (
            f'tls(key-file("{own.key}") cert-file("{own.certificate}") '
            f'ca-file("{own.ca_file}") peer-verify({verification}))'
        )
