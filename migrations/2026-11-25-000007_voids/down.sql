DROP TABLE voids;
