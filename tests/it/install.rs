//! A first install on a real API server: the manifests, what each admission policy promises, the commands around it.

mod agents;
mod agents_namespace;
mod approvals;
mod break_glass;
mod ca;
mod controller;
mod doctor;
mod gateway;
mod labels;
mod manifests;
mod pods;
mod rbac;
mod secrets;
mod stops;
mod via;
