-- Made by the page that created the conversation: a request that is sent twice creates one conversation.
ALTER TABLE conversations ADD COLUMN page_key TEXT;
CREATE UNIQUE INDEX conversations_page_key ON conversations (page_key);
