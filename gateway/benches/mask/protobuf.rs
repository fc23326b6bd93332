//! The same lists in protobuf.

use serde_json::Value;

/// A list of `items` as an API server answers it.
pub(crate) fn list(kind: &str, items: &[Value], item: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let kind = [text(1, "v1"), text(2, kind)].concat();
    let items: Vec<u8> = items.iter().flat_map(|each| bytes(2, item(each))).collect();
    let list = [bytes(1, text(2, "4711")), items].concat();
    [
        b"k8s\0".to_vec(),
        bytes(1, kind),
        bytes(2, list),
        text(3, ""),
        text(4, ""),
    ]
    .concat()
}

pub(crate) fn secret(secret: &Value, decode: impl Fn(&str) -> Vec<u8>) -> Vec<u8> {
    let values = secret["data"].as_object().expect("it has data").iter();
    let data = values
        .flat_map(|(name, value)| bytes(2, entry(name, decode(value.as_str().expect("a text")))));
    [
        bytes(1, metadata(&secret["metadata"])),
        data.collect(),
        member(3, &secret["type"]),
    ]
    .concat()
}

pub(crate) fn pod(pod: &Value) -> Vec<u8> {
    [
        bytes(1, metadata(&pod["metadata"])),
        bytes(2, spec(&pod["spec"])),
        bytes(3, status(&pod["status"])),
    ]
    .concat()
}

fn metadata(metadata: &Value) -> Vec<u8> {
    [
        member(1, &metadata["name"]),
        member(2, &metadata["generateName"]),
        member(3, &metadata["namespace"]),
        member(5, &metadata["uid"]),
        member(6, &metadata["resourceVersion"]),
        bytes(8, TIME),
        entries(11, &metadata["labels"]),
        entries(12, &metadata["annotations"]),
    ]
    .concat()
}

fn spec(spec: &Value) -> Vec<u8> {
    [
        bytes(2, container(&spec["containers"][0])),
        member(3, &spec["restartPolicy"]),
        number(4, 30),
        member(6, &spec["dnsPolicy"]),
        member(8, &spec["serviceAccountName"]),
        member(10, &spec["nodeName"]),
        member(19, &spec["schedulerName"]),
        number(25, 0),
        number(30, 1),
    ]
    .concat()
}

fn container(container: &Value) -> Vec<u8> {
    let list = |at: u64, name: &str, each: fn(&Value) -> Vec<u8>| -> Vec<u8> {
        let elements = container[name].as_array().into_iter().flatten();
        elements
            .flat_map(|element| bytes(at, each(element)))
            .collect()
    };
    let quantities = |at: u64, name: &str| -> Vec<u8> {
        let members = container["resources"][name]
            .as_object()
            .into_iter()
            .flatten();
        members
            .flat_map(|(name, value)| bytes(at, entry(name, member(1, value))))
            .collect()
    };
    [
        member(1, &container["name"]),
        member(2, &container["image"]),
        list(4, "args", |arg| arg.as_str().unwrap_or_default().into()),
        list(6, "ports", |port| {
            [
                member(1, &port["name"]),
                number(3, 8080),
                member(4, &port["protocol"]),
            ]
            .concat()
        }),
        list(7, "env", |env| {
            [member(1, &env["name"]), member(2, &env["value"])].concat()
        }),
        bytes(
            8,
            [quantities(1, "limits"), quantities(2, "requests")].concat(),
        ),
        list(9, "volumeMounts", |mount| {
            [
                member(1, &mount["name"]),
                number(2, 1),
                member(3, &mount["mountPath"]),
            ]
            .concat()
        }),
        member(13, &container["terminationMessagePath"]),
        member(14, &container["imagePullPolicy"]),
        member(20, &container["terminationMessagePolicy"]),
    ]
    .concat()
}

fn status(status: &Value) -> Vec<u8> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let condition = |condition: &Value| {
        bytes(
            2,
            [
                member(1, &condition["type"]),
                member(2, &condition["status"]),
                bytes(4, TIME),
            ]
            .concat(),
        )
    };
    let container = &status["containerStatuses"][0];
    let container = [
        member(1, &container["name"]),
        bytes(2, bytes(2, bytes(1, TIME))),
        number(4, 1),
        number(5, 2),
        member(7, &container["imageID"]),
        member(8, &container["containerID"]),
        number(9, 1),
    ];
    [
        member(1, &status["phase"]),
        conditions.flat_map(condition).collect(),
        member(5, &status["hostIP"]),
        member(6, &status["podIP"]),
        bytes(7, TIME),
        bytes(8, container.concat()),
        member(9, &status["qosClass"]),
    ]
    .concat()
}

/// `seconds` of a time in 2026, and no `nanos`.
const TIME: &[u8] = &[0x08, 0x88, 0x9c, 0x90, 0xcd, 0x06, 0x10, 0x00];

fn entries(at: u64, map: &Value) -> Vec<u8> {
    let members = map.as_object().into_iter().flatten();
    members
        .flat_map(|(name, value)| bytes(at, entry(name, value.as_str().unwrap_or_default())))
        .collect()
}

fn entry(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [text(1, name), bytes(2, value)].concat()
}

fn member(at: u64, value: &Value) -> Vec<u8> {
    value
        .as_str()
        .map_or_else(Vec::new, |value| text(at, value))
}

fn text(at: u64, text: &str) -> Vec<u8> {
    bytes(at, text)
}

fn bytes(at: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [
        varint(at << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

fn number(at: u64, value: u64) -> Vec<u8> {
    [varint(at << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
