use http::{HeaderValue, Method};

use super::*;
use crate::proxy::upgrade::tests::arrival;

fn screen(agent: &'static str, target: &str) -> Option<Screen> {
    let mut arrival = arrival(Method::GET, target, "websocket");
    let agent = HeaderValue::from_static(agent);
    arrival.headers.insert(header::USER_AGENT, agent);
    let info = RequestInfo::parse("GET", target).expect("it is unambiguous");
    Screen::of(&arrival, &info)
}

fn of_kubectl(target: &str) -> Option<Screen> {
    screen("kubectl/v1.37.1 (linux/amd64) kubernetes/0", target)
}

const POD: &str = "/api/v1/namespaces/ns/pods/p";

#[test]
fn text_goes_where_kubectl_shows_it() {
    let stderr = Some(Screen::new(Channel::Stderr, "\n"));
    let stdout = Some(Screen::new(Channel::Stdout, "\r\n"));
    for (query, expected) in [
        ("exec?command=a&stdin=true&stdout=true&stderr=true", &stderr),
        ("attach?stdout=true&stderr=true", &stderr),
        ("exec?command=a&stderr=1&tty=FALSE", &stderr),
        ("exec?command=a&stdin=true&stdout=true&tty=true", &stdout),
        ("exec?command=a&tty=&stdout=true&stderr=true", &stdout),
        ("exec?command=a&tty=true&tty=false&stdout=true", &stdout),
        // What it shows there would be taken for output.
        ("exec?command=a&stdout=true", &None),
        ("exec?command=a&stdout=true&stderr=false", &None),
        ("exec?command=a&tty=true", &None),
        ("portforward?ports=80&stderr=true", &None),
        ("log?stderr=true", &None),
    ] {
        assert_eq!(&of_kubectl(&format!("{POD}/{query}")), expected, "{query}");
    }
}

#[test]
fn who_might_take_a_refusal_for_success_is_not_accepted_early() {
    let exec = format!("{POD}/exec?command=a&stdout=true&stderr=true");
    for agent in ["OpenAPI-Generator/37.0.2/python", "mykubectl/1", ""] {
        assert_eq!(screen(agent, &exec), None, "{agent}");
    }
}
