//! What the body says about itself: facts of its first object, and the Secrets whose values passed.

use super::{
    super::{
        findings::{SECRETS_LISTED, SecretPassed},
        lexer::Shape,
        object::{Field, Object, PathClass, Place},
        rule::SecretName,
        session::is_name,
    },
    Scanner, Task,
};

impl Scanner {
    pub(super) fn begin_capture(&mut self, chunk: &[u8], start: usize, field: Field, shape: Shape) {
        let wanted = match field {
            Field::Kind | Field::Path => shape == Shape::String,
            Field::Code => shape == Shape::Scalar && self.is_first_object(),
            Field::Name | Field::Namespace => {
                shape == Shape::String
                    && (self.is_first_object() || self.in_secret() || self.eyes.is_some())
            }
            _ => shape == Shape::String && self.is_first_object(),
        };
        if wanted {
            self.emit(chunk, start);
            self.collected.clear();
            self.task = Task::Capture(field);
        }
    }

    pub(super) fn end_capture(&mut self, field: Field, chunk: &[u8], at: usize) {
        if field == Field::Code {
            self.emit(chunk, at);
            self.status.code = std::str::from_utf8(&self.collected)
                .ok()
                .and_then(|code| code.parse().ok());
            self.task = Task::Copy;
            return;
        }
        self.task = Task::Copy;
        let first = self.is_first_object();
        let named = self.eyes.is_some();
        let Some(object) = self.objects.last_mut() else {
            return;
        };
        match field {
            Field::Path => object.path = Some(PathClass::of(&self.collected)),
            Field::Kind => object.learn_kind(&self.collected),
            _ => {}
        }
        let Some(text) = std::str::from_utf8(&self.collected).ok().map(str::to_owned) else {
            return;
        };
        match field {
            Field::Name if object.secret || named => object.name = Some(text.clone()),
            Field::Namespace if object.secret || named => object.namespace = Some(text.clone()),
            _ => {}
        }
        if first {
            self.learn(field, text);
        }
    }

    fn learn(&mut self, field: Field, text: String) {
        let facts = &mut self.findings.facts;
        let fact = match field {
            Field::Status | Field::Reason if !is_name(&text) => return,
            Field::ApiVersion => &mut facts.api_version,
            Field::Kind => &mut facts.kind,
            Field::Name => &mut facts.name,
            Field::GenerateName => &mut facts.generate_name,
            Field::Namespace => &mut facts.namespace,
            Field::Uid => &mut facts.uid,
            Field::ResourceVersion => &mut facts.resource_version,
            Field::Status => &mut self.status.status,
            Field::Reason => &mut self.status.reason,
            Field::Code | Field::Path => return,
        };
        *fact = Some(text);
    }

    /// From its first byte a value counts as passed, also if the body is cut inside it.
    pub(super) fn begin_member(&mut self) {
        if let (Some(Place::Values(_)), Some(object)) =
            (self.places.last(), self.objects.last_mut())
        {
            object.has_members = true;
        }
    }

    /// A value of `data`, `stringData` or a patch of them is part of its Secret's digest.
    pub(super) fn add_member(&mut self, digest: &[u8]) {
        let Some(object) = self.objects.last_mut() else {
            return;
        };
        let (secret, name) = match self.places.last() {
            Some(Place::Values(_)) => (object, &*self.data_key),
            Some(Place::Object) if object.operation && object.path != Some(PathClass::Harmless) => {
                (&mut self.patched, &b""[..])
            }
            _ => return,
        };
        secret.members = secret.members.wrapping_add(self.key.member(name, digest));
        secret.has_members = true;
    }

    pub(super) fn list_secret(&mut self, object: Object, first: bool) {
        if !object.has_members {
            return;
        }
        let own_name = if first { &*self.rule.name } else { "" };
        let secret = SecretName {
            namespace: object
                .namespace
                .unwrap_or_else(|| self.rule.namespace.clone()),
            name: object.name.unwrap_or_else(|| own_name.to_owned()),
        };
        if self.rule.decoys.contains(&secret) {
            self.findings.decoys.push(secret.clone());
        }
        if self.findings.secrets.len() == SECRETS_LISTED {
            self.findings.secrets_unlisted += 1;
            return;
        }
        self.findings.secrets.push(SecretPassed {
            namespace: secret.namespace,
            name: secret.name,
            key_digest: self.key.secret_digest(object.members),
        });
    }
}

impl Object {
    fn learn_kind(&mut self, kind: &[u8]) {
        let secret = kind == b"Secret";
        let list = kind == b"SecretList";
        self.is_status = kind == b"Status";
        self.typed_list = !list && kind.ends_with(b"List") && kind != b"List";
        if self.exposed {
            // Masked as a whole at its end, so nothing in it may be masked before that.
            self.late |= secret || list;
        } else {
            self.secret |= secret;
            self.lists_secrets |= list;
        }
        self.turned = self.settled && self.late;
        self.settled = !self.late;
    }
}
