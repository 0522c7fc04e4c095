//! The folder of configuration files of a private Janus: what Debian's package does by default, except for where it
//! listens, which plugins it loads, how much it logs and, where wanted, the number of its event loops.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// Plugins that play no part: without them the process is smaller and starts sooner, to Janus's advantage.
const PLUGINS_UNUSED: &str = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,\
    libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,\
    libjanus_videocall.so,libjanus_voicemail.so";
const TRANSPORTS_UNUSED: &str =
    "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so";
/// Fatal messages and errors only; the package's 4 tells of every connection.
const DEBUG_LEVEL: u32 = 2;

/// How a private Janus is set up.
#[derive(Debug, Clone, Copy)]
pub struct JanusConfig {
    /// Where its WebSocket API listens. Media use the addresses of the machine's interfaces, never loopback.
    pub api: SocketAddr,
    /// A fixed number of media threads, in place of the package's one per handle.
    pub event_loops: Option<u32>,
}

impl JanusConfig {
    /// Writes the files; Janus is then started with `--configs-folder` and `--config` (its `janus.jcfg`).
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("janus.jcfg"), self.core(folder))?;
        std::fs::write(folder.join("janus.transport.websockets.jcfg"), self.websockets())?;
        // The rooms are made through the API.
        std::fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: { }\n")
    }

    fn core(&self, folder: &Path) -> String {
        let event_loops =
            self.event_loops.map(|count| format!("  event_loops = {count}\n")).unwrap_or_default();
        format!(
            "general: {{\n  configs_folder = \"{}\"\n  debug_level = {DEBUG_LEVEL}\n  debug_colors = false\n{event_loops}}}\n\
             certificates: {{ }}\n\
             media: {{ }}\n\
             nat: {{ nice_debug = false }}\n\
             plugins: {{ disable = \"{PLUGINS_UNUSED}\" }}\n\
             transports: {{ disable = \"{TRANSPORTS_UNUSED}\" }}\n\
             loggers: {{ disable = \"libjanus_jsonlog.so\" }}\n\
             events: {{ broadcast = false }}\n",
            folder.display(),
        )
    }

    fn websockets(&self) -> String {
        let (ip, port) = (self.api.ip(), self.api.port());
        format!(
            "general: {{\n  json = \"plain\"\n  ws = true\n  ws_port = {port}\n  ws_ip = \"{ip}\"\n  wss = false\n}}\n\
             admin: {{ admin_ws = false }}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_packaged_says_nothing_of_event_loops() {
        let packaged = JanusConfig { api: ([127, 0, 0, 1], 8188).into(), event_loops: None };
        assert!(!packaged.core(Path::new("/x")).contains("event_loops"));
        let shared = JanusConfig { event_loops: Some(1), ..packaged };
        assert!(shared.core(Path::new("/x")).contains("\n  event_loops = 1\n"));
        let websockets = shared.websockets();
        assert!(websockets.contains("ws_ip = \"127.0.0.1\"") && websockets.contains("ws_port = 8188\n"));
    }
}
