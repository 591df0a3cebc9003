//! The owner of the server closes sessions and cancels tasks of any client.

use super::driver::ServerDriver;
use crate::questions::{Order, OrderRequest};
use rain_data::Object;
use rain_model::id::SessionId;
use rain_protocol::client::RequestError;
use rain_server::{Command, Event};
use rain_transport::Transport;
use rain_transport::clients::Clients;
use std::sync::Arc;

impl<C: Clients, T: Transport<Arc<Object>>> ServerDriver<C, T> {
    /// Carries out the orders that others have given.
    pub(super) fn take_orders(&mut self) {
        for OrderRequest { order, answer } in self.order_requests.take() {
            let session = order.session();
            let known = self.sessions.get(&session).copied();
            let Some((client, facts)) = known.and_then(|client| Some((client, self.clients.get_mut(&client)?))) else {
                answer(Err(RequestError::request(format!("{} does not exist, or was closed", SessionId(session)))));
                continue;
            };
            let command = match order {
                Order::Close { .. } if facts.in_background > 0 => {
                    answer(Err(RequestError::request("its client is just being given results: close it again later")));
                    continue;
                }
                Order::Close { session } => {
                    facts.forget_session(session);
                    self.sessions.remove(&session);
                    tracing::info!("{} is closed by the server's owner", SessionId(session));
                    Command::CloseSession { session: SessionId(session) }
                }
                Order::Cancel { session, tasks } => Command::Cancel { session: SessionId(session), tasks },
            };
            let request = self.orders.add(client, answer);
            self.handle(Event::Request { client, request, command });
        }
    }
}
