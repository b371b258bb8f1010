//! The texts of a new database, in English and Portuguese.

use crate::database::USERS;

/// The language of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Portuguese,
}

impl Language {
    pub(crate) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &ENGLISH,
            Self::Portuguese => &PORTUGUESE,
        }
    }
}

pub(crate) struct Texts {
    pub(super) conversations: &'static [&'static str],
    pub(super) documents: &'static [&'static str],
    /// The messages of each conversation.
    pub(super) messages: &'static [&'static [Said]],
    pub(super) notes: &'static [Note],
    pub(super) document: &'static [Block],
}

impl Texts {
    /// The messages that mention this user.
    pub(crate) fn mentions(&self, login: &str) -> Vec<Mention> {
        let mention = format!("@{login}");
        let mut found = Vec::new();
        for (conversation, messages) in (1_i64..).zip(self.messages) {
            for (seq, said) in (1..).zip(*messages) {
                if said.body.contains(&mention) {
                    let from = name_of(said.author);
                    found.push(Mention { from, conversation, seq, text: said.body });
                }
            }
        }
        found
    }

    /// The notes to this user.
    pub(crate) fn notes_to(&self, user: i64) -> Vec<NoteTo> {
        let others = self.notes.iter().filter(|note| note.from != user);
        others.map(|note| NoteTo { from: name_of(note.from), text: note.text }).collect()
    }
}

/// A message that mentions a user.
pub(crate) struct Mention {
    pub(crate) from: &'static str,
    pub(crate) conversation: i64,
    pub(crate) seq: i64,
    pub(crate) text: &'static str,
}

/// A note to a user.
pub(crate) struct NoteTo {
    pub(crate) from: &'static str,
    pub(crate) text: &'static str,
}

fn name_of(user: i64) -> &'static str {
    USERS.iter().find(|(id, ..)| *id == user).map_or("", |(_, _, name)| name)
}

/// A message.
pub(super) struct Said {
    pub(super) author: i64,
    pub(super) minutes_ago: i64,
    pub(super) body: &'static str,
}

/// A note to all other users.
pub(super) struct Note {
    pub(super) from: i64,
    pub(super) text: &'static str,
}

/// A part of the document.
pub(super) enum Block {
    Heading(u32, &'static str),
    Paragraph(&'static str),
    List(&'static [&'static str]),
}

const fn said(author: i64, minutes_ago: i64, body: &'static str) -> Said {
    Said { author, minutes_ago, body }
}

const ANA: i64 = 1;
const BRUNO: i64 = 2;
const CARLA: i64 = 3;
/// Minutes of a day.
const DAY: i64 = 24 * 60;

const ENGLISH: Texts = Texts {
    conversations: &["Team", "Ana and Bruno", "Bruno and Carla", "Ana and Carla"],
    documents: &["Meeting notes", "Launch plan", "Bruno and Carla’s draft"],
    messages: &[
        &[
            said(BRUNO, DAY + 95, "The new order page is live. 🎉"),
            said(CARLA, DAY + 92, "It is much faster. The list now updates without a reload."),
            said(
                ANA,
                DAY + 90,
                "Great! How do we measure it?\nLast week we polled every five seconds.",
            ),
            said(
                BRUNO,
                DAY + 81,
                "The dashboard shows both side by side: push and polling, with requests, bytes and delay.",
            ),
            said(CARLA, 47, "Good morning! Today’s orders look good: $12,480 by 10 a.m."),
            said(ANA, 44, "The client asks how a page gets what it missed while it was offline."),
            said(
                BRUNO,
                41,
                "It’s explained here: https://github.com/clarim/clarim/blob/main/docs/history.md",
            ),
            said(CARLA, 12, "@bruno, can you write the summary for Thursday’s meeting?"),
            said(
                BRUNO,
                6,
                "On it. I’m writing it in the document “Meeting notes”, @ana and @carla.",
            ),
        ],
        &[
            said(ANA, DAY + 12, "Do you have the address of the staging server?"),
            said(BRUNO, DAY + 8, "The same as before. Only the host has changed."),
            said(BRUNO, 3, "Shall we go through the plan at three?"),
        ],
        &[
            said(CARLA, 70, "The draft has a first outline."),
            said(BRUNO, 66, "I’ll read it before lunch."),
        ],
        &[
            said(ANA, 33, "Did you see the two cursors in the editor?"),
            said(CARLA, 31, "Yes, and undo takes back only my own changes."),
        ],
    ],
    notes: &[
        Note { from: CARLA, text: "The meeting is at three." },
        Note { from: ANA, text: "Lunch is here!" },
    ],
    document: &[
        Block::Heading(1, "Thursday’s meeting"),
        Block::Paragraph(
            "Open this document in two windows, as two people. What one types appears in the other, with a cursor and a name.",
        ),
        Block::Heading(2, "Agenda"),
        Block::List(&[
            "Orders of the week, from the dashboard",
            "The launch: what is missing",
            "Who is on call over the holidays",
        ]),
        Block::Heading(2, "Try it"),
        Block::Paragraph(
            "Switch off the network, keep writing, and switch it on again: both texts are merged.",
        ),
    ],
};

const PORTUGUESE: Texts = Texts {
    conversations: &["Equipe", "Ana e Bruno", "Bruno e Carla", "Ana e Carla"],
    documents: &["Ata da reunião", "Plano de lançamento", "Rascunho de Bruno e Carla"],
    messages: &[
        &[
            said(BRUNO, DAY + 95, "A nova página de pedidos está no ar. 🎉"),
            said(CARLA, DAY + 92, "Ficou bem mais rápida. A lista se atualiza sem recarregar."),
            said(
                ANA,
                DAY + 90,
                "Ótimo! Como medimos isso?\nAté a semana passada era polling a cada cinco segundos.",
            ),
            said(
                BRUNO,
                DAY + 81,
                "O painel mostra os dois lado a lado: push e polling, com requisições, bytes e atraso.",
            ),
            said(CARLA, 47, "Bom dia! Os pedidos de hoje estão bons: R$ 12.480,00 até as 10h."),
            said(
                ANA,
                44,
                "O cliente perguntou como uma página recebe o que perdeu enquanto estava offline.",
            ),
            said(
                BRUNO,
                41,
                "Está explicado aqui: https://github.com/clarim/clarim/blob/main/docs/history.pt-BR.md",
            ),
            said(CARLA, 12, "@bruno, você escreve o resumo para a reunião de quinta?"),
            said(BRUNO, 6, "Já comecei. Está no documento “Ata da reunião”, @ana e @carla."),
        ],
        &[
            said(ANA, DAY + 12, "Você tem o endereço do servidor de homologação?"),
            said(BRUNO, DAY + 8, "O mesmo de antes. Só o host mudou."),
            said(BRUNO, 3, "Vamos revisar o plano às três?"),
        ],
        &[
            said(CARLA, 70, "O rascunho já tem uma primeira estrutura."),
            said(BRUNO, 66, "Leio antes do almoço."),
        ],
        &[
            said(ANA, 33, "Você viu os dois cursores no editor?"),
            said(CARLA, 31, "Vi, e desfazer só desfaz o que eu mesma escrevi."),
        ],
    ],
    notes: &[
        Note { from: CARLA, text: "A reunião é às três." },
        Note { from: ANA, text: "O almoço chegou!" },
    ],
    document: &[
        Block::Heading(1, "Reunião de quinta"),
        Block::Paragraph(
            "Abra este documento em duas janelas, como duas pessoas. O que uma escreve aparece na outra, com cursor e nome.",
        ),
        Block::Heading(2, "Pauta"),
        Block::List(&[
            "Pedidos da semana, pelo painel",
            "O lançamento: o que falta",
            "Quem fica de plantão no feriado",
        ]),
        Block::Heading(2, "Experimente"),
        Block::Paragraph(
            "Desligue a rede, continue escrevendo e ligue de novo: os dois textos são mesclados.",
        ),
    ],
};
