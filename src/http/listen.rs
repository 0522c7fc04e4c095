//! How connections are taken: by TLS where there is a certificate, and so that what is said on one is not held back.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::TcpStream;

/// How long a client may take to say the head of a request, from its connection on.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

type Service = IntoMakeServiceWithConnectInfo<Router, SocketAddr>;

/// Serves until the handle says that it is enough.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let service: Service = router.into_make_service_with_connect_info();
    let server = axum_server::from_tcp(listener)?.acceptor(Prompt).handle(handle);
    match tls {
        None => configured(server).serve(service).await,
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls)).acceptor(Prompt);
            configured(server.acceptor(acceptor)).serve(service).await
        }
    }
}

/// A client that says nothing, or half the head of a request and no more, is cut off.
fn configured<A>(mut server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
    let builder = server.http_builder();
    // Nothing is sniffed: a connection that says nothing would be sniffed at for ever.
    *builder = builder.clone().http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server
}

/// Messages of a visit are short, and few. None waits until the one before it is acknowledged (`TCP_NODELAY`, RFC 1122, section
/// 4.2.3.4), and on a line that loses them they are sent again after the same time, not twice as long each time
/// (`TCP_THIN_LINEAR_TIMEOUTS`, Linux: six times, while fewer than four segments are under way).
#[derive(Clone, Copy)]
struct Prompt;

impl<S> Accept<TcpStream, S> for Prompt {
    type Stream = TcpStream;
    type Service = S;
    type Future = Ready<io::Result<(TcpStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(prompt(&stream).map(|()| (stream, service)))
    }
}

fn prompt(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    // Not every Linux has it (sandboxes do not): what is lost comes later there, and that is all.
    let _ = socket.set_tcp_thin_linear_timeouts(true);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_on_a_socket_is_not_held_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (stream, ()) = Prompt.accept(stream, ()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        let has_it = socket.set_tcp_thin_linear_timeouts(false).is_ok();
        prompt(&stream).unwrap();
        assert_eq!(socket.tcp_thin_linear_timeouts().unwrap_or(false), has_it, "where the system has it");
    }
}
