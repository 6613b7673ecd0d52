import {
  ASIDE,
  type ApplicationSchema,
  LAST_UPDATED,
  lastUpdatedTriggers,
  OTHER_SHOP,
  rotate,
  sample,
  SHOP,
} from './application-schema.js';

/** Posts and comments reference each other, comments themselves; everything goes with its post. */
const TABLES = `
  CREATE TABLE posts (id int PRIMARY KEY, shop int NOT NULL, slug text NOT NULL UNIQUE, rank int UNIQUE, last_comment_id int,
    comment_count int NOT NULL DEFAULT 0, last_update timestamptz NOT NULL DEFAULT now());
  CREATE TABLE comments (id int PRIMARY KEY, post_id int NOT NULL REFERENCES posts ON UPDATE CASCADE ON DELETE CASCADE,
    parent_id int REFERENCES comments ON UPDATE CASCADE ON DELETE CASCADE, body text NOT NULL);
  ALTER TABLE posts ADD FOREIGN KEY (last_comment_id) REFERENCES comments ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED;
  CREATE TABLE tags (post_slug text REFERENCES posts (slug) ON UPDATE CASCADE ON DELETE CASCADE, name text, position int NOT NULL,
    PRIMARY KEY (post_slug, name), UNIQUE (post_slug, position) DEFERRABLE);`;

/** Keeps posts.comment_count, as counter caches do. */
const COUNTER_CACHE = `
  CREATE FUNCTION count_comments() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP <> 'INSERT' THEN UPDATE posts SET comment_count = comment_count - 1 WHERE id = OLD.post_id; END IF;
    IF TG_OP <> 'DELETE' THEN UPDATE posts SET comment_count = comment_count + 1, last_comment_id = NEW.id WHERE id = NEW.post_id; END IF;
    RETURN NULL; END $$;
  CREATE TRIGGER count_comments AFTER INSERT OR DELETE OR UPDATE OF post_id ON comments FOR EACH ROW EXECUTE FUNCTION count_comments();`;

const mine = (column: string): string =>
  `EXISTS (SELECT FROM posts p WHERE p.${column === 'post_slug' ? 'slug' : 'id'} = ${column} AND p.shop = :shop)`;
const someComments = `comments WHERE post_id IN (SELECT id FROM posts WHERE shop = ${SHOP})`;

export const BLOG: ApplicationSchema = {
  name: 'a blog with counter caches, cascades and circles',
  central: `${TABLES} ${ASIDE} ${LAST_UPDATED} ${COUNTER_CACHE}
    INSERT INTO posts SELECT g, 1 + g % 2, 'post ' || g, NULLIF(g, 5) FROM generate_series(1, 40) g;
    INSERT INTO comments SELECT g, 1 + g % 40, CASE WHEN g > 40 AND g % 3 = 0 THEN g - 40 END, 'comment ' || g FROM generate_series(1, 200) g;
    INSERT INTO tags SELECT slug, 'tag ' || n, n FROM posts, generate_series(1, 3) n;
    ${lastUpdatedTriggers('posts')}`,
  tables: [
    { name: 'posts', where: 'shop = :shop' },
    { name: 'comments', where: mine('post_id') },
    { name: 'tags', where: mine('post_slug') },
  ],
  device: TABLES,
  own: `
    CREATE TABLE bookmarks (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, post_id int REFERENCES posts ON UPDATE CASCADE ON DELETE CASCADE);
    CREATE TABLE drafts (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, reply_to int REFERENCES comments ON DELETE SET NULL);
    CREATE TABLE links (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, slug text DEFAULT NULL REFERENCES posts (slug) ON UPDATE SET NULL ON DELETE SET DEFAULT);
    CREATE TABLE filters (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, slug text, tag text, FOREIGN KEY (slug, tag) REFERENCES tags ON UPDATE CASCADE);`,
  ownTables: ['bookmarks', 'drafts', 'links', 'filters'],
  addOwnRows: (random) => `
    INSERT INTO bookmarks (post_id) SELECT * FROM ${sample(random, 'posts', 'id', 2)} t;
    INSERT INTO drafts (reply_to) SELECT * FROM ${sample(random, 'comments', 'id', 2)} t;
    INSERT INTO links (slug) SELECT * FROM ${sample(random, 'posts', 'slug', 1)} t;
    INSERT INTO filters (tag, slug) SELECT * FROM ${sample(random, 'tags', 'name, post_slug', 1)} t`,
  changes: [
    (random) => rotate(random, { table: 'posts', key: 'id', columns: ['slug'], count: 2 + random.below(3) }),
    (random) => rotate(random, { table: 'posts', key: 'id', columns: ['rank', 'slug'], count: 2 }),
    (random) => rotate(random, { table: 'posts', key: 'id', columns: ['rank'], count: 3 }),
    (random) => `UPDATE posts SET rank = NULL WHERE id IN ${sample(random, `posts WHERE shop = ${SHOP}`, 'id', 2)}`,
    (random) => `DELETE FROM posts WHERE id IN ${sample(random, `posts WHERE shop = ${SHOP}`, 'id', 1)}`,
    (random) =>
      `UPDATE posts SET id = ${1000 + random.below(100_000)} WHERE id IN ${sample(random, `posts WHERE shop = ${SHOP}`, 'id', 1)}`,
    (random) => `UPDATE posts SET shop = ${SHOP} + ${OTHER_SHOP} - shop WHERE id IN ${sample(random, 'posts', 'id', 2)}`,
    (random) => `DELETE FROM comments WHERE id IN ${sample(random, someComments, 'id', 3)}`,
    (random) => `UPDATE comments SET id = ${1000 + random.below(100_000)} WHERE id IN ${sample(random, someComments, 'id', 1)}`,
    // A comment and its parent have one post, so that the share has both or none.
    (random) =>
      `UPDATE comments AS c SET parent_id = NULL, post_id = (SELECT id FROM ${sample(random, 'posts', 'id', 1)} p)
       WHERE id IN ${sample(random, someComments, 'id', 2)} AND NOT EXISTS (SELECT FROM comments WHERE parent_id = c.id)`,
    (random) =>
      `UPDATE comments AS c SET parent_id = (SELECT max(id) FROM comments WHERE post_id = c.post_id) WHERE id IN ${sample(random, someComments, 'id', 2)}`,
    (random) =>
      `INSERT INTO comments SELECT 200000 + (SELECT count(*) FROM comments) + ${random.below(100_000)}, id, NULL, 'new' FROM ${sample(random, `posts WHERE shop = ${SHOP}`, 'id', 1)} p`,
    (random) => `UPDATE tags SET position = 4 - position WHERE post_slug IN ${sample(random, `posts WHERE shop = ${SHOP}`, 'slug', 2)}`,
    (random) =>
      `UPDATE tags SET name = name || '${random.below(10)}' WHERE post_slug IN ${sample(random, 'posts', 'slug', 1)} AND position = 2`,
    (random) => `SET LOCAL session_replication_role = replica; UPDATE comments SET body = body || '.' WHERE id % 17 = ${random.below(17)}`,
    () => 'CREATE TEMPORARY TABLE held ON COMMIT DROP AS TABLE tags; TRUNCATE tags; INSERT INTO tags SELECT * FROM held; DROP TABLE held',
  ],
};
