//! HTTP and WebSockets to a server, over TCP or TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::ServerError;

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long anything over HTTP may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A browser's buffers are no concern of ours; these are small because there are thousands.
const SOCKET_BUFFER_BYTES: usize = 4 << 10;

/// A way to a server.
#[derive(Clone)]
pub struct Net {
    origin: Origin,
    connector: Connector,
    client: Client<Connector, Full<Bytes>>,
}

/// Where a server is.
#[derive(Clone, Debug)]
struct Origin {
    is_secure: bool,
    host: String,
    port: u16,
}

/// An open WebSocket.
pub type Socket = WebSocketStream<Stream>;

impl Net {
    /// To the server at `url` (`http`, `https`, `ws` or `wss`; a path is not taken). `ca` is trusted besides the public
    /// authorities.
    ///
    /// # Errors
    ///
    /// The URL or the certificate cannot be used.
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self, ServerError> {
        let origin = Origin::parse(url)?;
        let connector = Connector { origin: origin.clone(), tls: TlsConnector::from(Arc::new(tls(ca)?)) };
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(32).build(connector.clone());
        Ok(Self { origin, connector, client })
    }

    /// As it is said to people.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.origin.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.origin.authority())
    }

    /// The address its name stands for.
    ///
    /// # Errors
    ///
    /// The name stands for none.
    pub async fn address(&self) -> Result<SocketAddr, ServerError> {
        let found =
            tokio::net::lookup_host((self.origin.host.trim_matches(['[', ']']), self.origin.port)).await;
        let address = found.map(|mut addresses| addresses.next());
        address.ok().flatten().ok_or_else(|| self.unreachable("its name has no address"))
    }

    /// One request; its answer with the whole body.
    ///
    /// # Errors
    ///
    /// There was no answer. What the answer says is the caller's.
    pub async fn request(&self, path: &str, request: Request<Bytes>) -> Result<Response<Bytes>, ServerError> {
        let (mut head, body) = request.into_parts();
        head.uri = format!("{}{path}", self.url()).parse().map_err(|_| ServerError::Url(path.to_owned()))?;
        let answer = async {
            let answer = self.client.request(Request::from_parts(head, Full::new(body))).await;
            let (head, body) = answer.map_err(|error| self.unreachable(&innermost(&error)))?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| self.unreachable(&error.to_string()))?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(ServerError::Late("an answer over HTTP")))
    }

    /// Opens a WebSocket, with this subprotocol if there is one.
    ///
    /// # Errors
    ///
    /// There is no connection, or the server does not take it.
    pub async fn socket(&self, path: &str, subprotocol: Option<&str>) -> Result<Socket, ServerError> {
        let scheme = if self.origin.is_secure { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{path}", self.origin.authority());
        let mut request = url.as_str().into_client_request().map_err(|_| ServerError::Url(url.clone()))?;
        if let Some(subprotocol) = subprotocol {
            let subprotocol =
                HeaderValue::from_str(subprotocol).map_err(|_| ServerError::Url(url.clone()))?;
            request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        }
        let open = async {
            let stream =
                self.connector.connect().await.map_err(|error| self.unreachable(&error.to_string()))?;
            let config = WebSocketConfig::default()
                .read_buffer_size(SOCKET_BUFFER_BYTES)
                .write_buffer_size(0)
                .max_message_size(Some(ANSWER_BYTES_MAX));
            let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
            match opened {
                Ok((socket, _)) => Ok(socket),
                Err(tungstenite::Error::Http(answer)) => Err(ServerError::Handshake(
                    StatusCode::from_u16(answer.status().as_u16()).unwrap_or_default(),
                )),
                Err(error) => Err(self.unreachable(&error.to_string())),
            }
        };
        tokio::time::timeout(PATIENCE, open).await.unwrap_or(Err(ServerError::Late("a WebSocket")))
    }

    fn unreachable(&self, why: &str) -> ServerError {
        ServerError::Unreachable { url: self.url(), why: why.to_owned() }
    }
}

/// The error that explains the others.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

impl Origin {
    fn parse(url: &str) -> Result<Self, ServerError> {
        let wrong = || ServerError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?.to_owned();
        Ok(Self { is_secure, host, port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }) })
    }

    fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn tls(ca: Option<&Path>) -> Result<ClientConfig, ServerError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = ca {
        let wrong = |why: &dyn std::fmt::Display| ServerError::Certificate {
            file: file.to_owned(),
            why: why.to_string(),
        };
        let mut count = 0;
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(wrong(&"it has no certificate in it"));
        }
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| ServerError::Environment(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Opens TCP and, where it takes one, TLS.
#[derive(Clone)]
struct Connector {
    origin: Origin,
    tls: TlsConnector,
}

impl Connector {
    async fn connect(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect((self.origin.host.trim_matches(['[', ']']), self.origin.port)).await?;
        tcp.set_nodelay(true)?;
        if !self.origin.is_secure {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(self.origin.host.trim_matches(['[', ']']).to_owned())
            .map_err(io::Error::other)?;
        Ok(Stream::Tls(Box::new(self.tls.connect(name, tcp).await?)))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// TCP, with TLS or without.
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_scheme_host_and_port() {
        let parse = |url| Origin::parse(url).map(|origin| (origin.is_secure, origin.authority())).ok();
        assert_eq!(parse("http://127.0.0.1:8080"), Some((false, "127.0.0.1:8080".to_owned())));
        assert_eq!(parse("https://visit.example.org/"), Some((true, "visit.example.org:443".to_owned())));
        assert_eq!(parse("ws://[::1]:8188"), Some((false, "[::1]:8188".to_owned())));
        for url in ["", "127.0.0.1:8080", "ftp://example.org", "http://", "visit.example.org"] {
            assert_eq!(parse(url), None, "{url}");
        }
    }
}
