use std::{net::TcpListener, os::fd::AsFd as _};

use super::*;
use crate::handover::{CapturedPod, Listener};
use crate::identity::Workload;

struct Scene {
    directory: tempfile::TempDir,
    events: mpsc::Receiver<PeerEvent>,
    shutdown: CancellationToken,
}

impl Scene {
    /// A gateway of this process's own uid may connect.
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let uid = nix::unistd::geteuid().as_raw();
        let listener = listen(&directory.path().join("node.sock"), uid).expect("a socket");
        let (sender, events) = mpsc::channel(8);
        let shutdown = CancellationToken::new();
        tokio::spawn(serve(
            listener,
            uid,
            sender,
            Arc::default(),
            shutdown.clone(),
        ));
        Self {
            directory,
            events,
            shutdown,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("node.sock")
    }

    async fn next(&mut self) -> PeerEvent {
        timeout(Duration::from_secs(30), self.events.recv())
            .await
            .expect("an event comes")
            .expect("it still serves")
    }
}

fn pod(uid: &str) -> CapturedPod {
    CapturedPod {
        workload: Workload {
            pod_uid: uid.to_owned(),
            ..Workload::default()
        },
        netns_cookie: 7,
        needs_recreate: false,
    }
}

fn hello_of(role: Role, protocol: u32) -> Message {
    Message::Hello { protocol, role }
}

#[tokio::test]
async fn what_a_gateway_holds_arrives_and_what_it_lacks_is_sent() {
    let mut scene = Scene::start();
    let (mut sender, mut receiver) =
        channel(UnixStream::connect(scene.path()).await.expect("connected"));
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let listener = Listener {
        pod_uid: "1".to_owned(),
        destination: "10.96.0.1:443".parse().expect("an address"),
        names: Vec::new(),
    };
    sender
        .send(&hello_of(Role::Gateway, PROTOCOL), None)
        .await
        .expect("sent");
    sender
        .send(&Message::Listener(listener.clone()), Some(socket.as_fd()))
        .await
        .expect("sent");

    let PeerEvent::Arrived(id, Role::Gateway, outgoing) = scene.next().await else {
        panic!("a gateway arrives first");
    };
    let PeerEvent::Said(said_by, Message::Listener(said), Some(_)) = scene.next().await else {
        panic!("then what it said");
    };
    assert_eq!((said_by, said), (id, listener));
    let message = Message::Pod(pod("2"));
    assert!(
        outgoing
            .send(Outgoing {
                message,
                socket: None
            })
            .await
            .is_ok()
    );
    let (first, _) = receiver.receive().await.expect("whole").expect("open");
    assert_eq!(first, hello_of(Role::Node, PROTOCOL));
    let (second, _) = receiver.receive().await.expect("whole").expect("open");
    assert_eq!(second, Message::Pod(pod("2")));
    drop((sender, receiver));
    assert!(matches!(scene.next().await, PeerEvent::Left(left) if left == id));
}

#[tokio::test]
async fn another_version_is_refused_before_it_can_say_anything() {
    let mut scene = Scene::start();
    let (mut sender, mut receiver) =
        channel(UnixStream::connect(scene.path()).await.expect("connected"));
    sender
        .send(&hello_of(Role::Gateway, PROTOCOL + 1), None)
        .await
        .expect("sent");
    assert!(matches!(scene.next().await, PeerEvent::Left(_)));
    assert!(receiver.receive().await.expect("closed cleanly").is_none());
}

#[tokio::test]
async fn a_new_socket_takes_the_place_of_the_old_one() {
    let mut scene = Scene::start();
    let uid = nix::unistd::geteuid().as_raw();
    let second = listen(&scene.path(), uid).expect("it may be there already");
    let mode = fs::metadata(scene.path())
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let _client = UnixStream::connect(scene.path()).await.expect("connected");
    second.accept().await.expect("the new one");
    assert_eq!(
        fs::read_dir(scene.directory.path())
            .expect("readable")
            .count(),
        1
    );
    scene.shutdown.cancel();
    assert!(scene.events.recv().await.is_none());
}

#[tokio::test]
async fn nobody_to_take_over_from_is_no_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.sock");
    assert!(take_over(&path).await.is_none());
    // Left behind by one that was killed.
    drop(listen(&path, nix::unistd::geteuid().as_raw()).expect("a socket"));
    assert!(take_over(&path).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_superseded_agent_is_abandoned_once_nobody_listens() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("node.sock");
    let listener = listen(&path, nix::unistd::geteuid().as_raw()).expect("a socket");
    let waited = timeout(Duration::from_secs(60), abandoned(&path)).await;
    assert!(waited.is_err(), "somebody listens");
    drop(listener);
    timeout(Duration::from_secs(20), abandoned(&path))
        .await
        .expect("nobody listens");
}

#[tokio::test]
async fn who_only_looks_whether_somebody_is_there_is_let_go() {
    let mut scene = Scene::start();
    drop(UnixStream::connect(scene.path()).await.expect("connected"));
    assert!(matches!(scene.next().await, PeerEvent::Left(_)));
}
